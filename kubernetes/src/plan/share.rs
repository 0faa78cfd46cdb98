//! Which part of the requests the weights send to the candidate: pure.

use serde_json::Value;

use super::splits::Role;
use crate::{
    intent::Intent,
    routes::{self, Route},
};

/// What all routes of these objects say of the candidate's share; see [`Family::share`](crate::delegates::Family::share).
pub(crate) fn share<'v>(objects: impl IntoIterator<Item = &'v Value>, intent: &Intent) -> Option<f64> {
    let mut common = None;
    for object in objects {
        for route in routes::of(object).ok()? {
            match of(&route, intent) {
                Share::None => {}
                Share::Of(share) if common.is_none_or(|common| common == share) => common = Some(share),
                Share::Of(_) | Share::Unknown => return None,
            }
        }
    }
    common
}

/// What a route tells of the share.
enum Share {
    /// Nothing.
    None,
    Of(f64),
    Unknown,
}

fn of(route: &Route, intent: &Intent) -> Share {
    let (mut candidate, mut all, mut is_known) = (0.0, 0.0, true);
    let (mut has_candidate, mut has_baseline) = (false, false);
    for destination in &route.destinations {
        let role = Role::of(&destination.target, intent);
        has_candidate |= role == Role::Candidate;
        has_baseline |= role == Role::Baseline;
        let Ok(weight) = destination.weight() else {
            is_known = false;
            continue;
        };
        all += f64::from(weight);
        candidate += if role == Role::Candidate { f64::from(weight) } else { 0.0 };
    }
    match (has_candidate, has_baseline) {
        (false, false) => Share::None,
        (true, false) if route.straight => Share::None,
        (false, true) => Share::Unknown,
        _ if !is_known || all <= 0.0 => Share::Unknown,
        _ => Share::Of(candidate / all),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(routes: Value) -> Value {
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": { "name": "shop", "namespace": "prod" }, "spec": { "http": routes },
        })
    }

    fn route(subsets: &[(&str, Value)]) -> Value {
        let to = |(subset, weight): &(&str, Value)| json!({ "destination": { "host": "shop", "subset": subset }, "weight": weight });
        json!({ "route": subsets.iter().map(to).collect::<Vec<_>>() })
    }

    fn split(v1: u32, v2: u32) -> Value {
        route(&[("v1", v1.into()), ("v2", v2.into())])
    }

    fn of_routes(routes: &[Value]) -> Option<f64> {
        share([&object(routes.to_vec().into())], &Intent::subsets("shop", "prod", "v1", "v2"))
    }

    #[test]
    fn one_share_that_all_routes_have() {
        let other = json!({ "route": [{ "destination": { "host": "cart" } }] });
        let check = |routes: &[Value], want, why| assert_eq!(of_routes(routes), want, "{why}");
        check(&[split(90, 10)], Some(0.1), "");
        check(&[split(80, 20), other, json!({ "redirect": {} }), split(4, 1)], Some(0.2), "others say nothing");
        check(&[route(&[("v1", 80.into()), ("v2", 10.into()), ("v0", 10.into())])], Some(0.1), "of all requests");
        check(&[split(100, 0)], Some(0.0), "");
        check(&[split(90, 10), split(80, 20)], None, "they differ");
        check(&[split(0, 0)], None, "nobody gets any");
        check(&[route(&[("v1", 90.into()), ("v2", "ten".into())])], None, "no weight");
        check(&[], None, "no routes");
        assert_eq!(share([&json!({ "kind": "Service" })], &Intent::subsets("shop", "prod", "v1", "v2")), None);
    }

    #[test]
    fn a_route_that_a_header_chooses_is_no_weight() {
        let only = |subset: &str| {
            let mut route = json!({ "route": [{ "destination": { "host": "shop", "subset": subset } }] });
            route["match"] = json!([{ "headers": { "x-user": { "exact": "tester" } } }]);
            route
        };
        assert_eq!(of_routes(&[only("v2"), split(90, 10)]), Some(0.1), "testers get the candidate besides");
        assert_eq!(of_routes(&[only("v2")]), None, "all who get it are testers");
        assert_eq!(of_routes(&[only("v1"), split(90, 10)]), None, "an unknown part never gets the candidate");
        let mut for_some = split(50, 50);
        for_some["match"] = json!([{ "headers": { "x-user": { "exact": "tester" } } }]);
        let rest = route(&[("v1", 100.into())]);
        assert_eq!(of_routes(&[for_some, rest]), None, "half of the testers is not half of all");
    }

    #[test]
    fn an_object_that_delegates_counts_too() {
        let of_both = |root: Value, delegate: Value| {
            let [root, delegate] = [root, delegate].map(|route| object(json!([route])));
            share([&root, &delegate], &Intent::subsets("shop", "prod", "v1", "v2"))
        };
        let delegating = || json!({ "delegate": { "name": "shop" } });
        assert_eq!(of_both(delegating(), split(90, 10)), Some(0.1));
        assert_eq!(of_both(route(&[("v1", 100.into())]), split(90, 10)), None, "some never come to the delegate");
    }

    #[test]
    fn of_a_route_of_the_gateway_api() {
        let object = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": { "name": "shop", "namespace": "prod" },
            "spec": { "rules": [{ "backendRefs": [{ "name": "shop-v1", "weight": 3 }, { "name": "shop-v2" }] }] },
        });
        assert_eq!(share([&object], &Intent::hosts("prod", "shop-v1", "shop-v2")), Some(0.25));
    }
}
