//! A ReleaseGuard with its pair of releases as a service of the engine: pure.

use serde_json::json;
use serin_kubernetes::{
    discover::Pair,
    release_guard::{Action, ReleaseGuardSpec, TargetRef},
};

use crate::config::{Config, Object, Service};

/// The service. It has been through the parser of `serin.yaml`, which decides defaults and ranges.
///
/// # Errors
/// What that parser says.
pub(super) fn of(spec: &ReleaseGuardSpec, namespace: &str, pair: &Pair) -> Result<Service, String> {
    let parsed = Config::parse(&json!({ "services": [spec.service(pair)] }).to_string());
    let first = parsed.map_err(|problems| problems.to_string())?.services.pop();
    let mut service = first.ok_or("it says no service")?;
    if spec.action != Action::Notify {
        let object = |target: &TargetRef| {
            let object = target.object(namespace).map_err(|error| error.to_string())?;
            Ok(Object { object, namespace: namespace.to_owned(), target: target.clone() })
        };
        service.rollback.objects = spec.targets.iter().map(object).collect::<Result<_, String>>()?;
    }
    Ok(service)
}

/// The same, judged and not acted on, and why.
pub(super) fn held(service: &Service, why: String) -> Service {
    let mut held = service.clone();
    held.rollback.dry_run = true;
    held.rollback.objects.clear();
    held.rollback.held = Some(why);
    held
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serin_judge::Policy;

    use super::*;

    fn spec(change: impl FnOnce(&mut Value)) -> ReleaseGuardSpec {
        let mut spec = json!({
            "service": "shop", "vantage": "gateway",
            "targets": [{ "kind": "VirtualService", "name": "shop", "host": "shop" }],
        });
        change(&mut spec);
        serde_json::from_value(spec).unwrap()
    }

    fn pair() -> Pair {
        Pair { baseline: "v1".to_owned(), candidate: "v2".to_owned() }
    }

    #[test]
    fn an_action_is_what_is_written() {
        let check = |action: &str, objects: usize, dry_run: bool, only_tells: bool| {
            let service = of(&spec(|spec| spec["action"] = action.into()), "prod", &pair()).unwrap();
            let rollback = &service.rollback;
            let read = (rollback.objects.len(), rollback.dry_run, rollback.only_tells);
            assert_eq!(read, (objects, dry_run, only_tells), "{action}");
            let held = held(&service, "v1 has no ready pods".to_owned());
            assert_eq!(held.rollback.held.as_deref(), Some("v1 has no ready pods"));
            assert!(held.rollback.dry_run && !held.rollback.has_targets() && held.is_judged_as(&service));
        };
        check("rollback", 1, false, false);
        check("dry-run", 1, true, false);
        check("notify", 0, false, true);
    }

    #[test]
    fn rules_are_those_of_the_file() {
        let thresholds = json!({ "pass": 0.05, "marginal": 0.2 });
        let rules =
            json!({ "guard": "10m", "throughput": "judged", "metrics": [{ "name": "p99", "thresholds": thresholds }] });
        let service = of(&spec(|spec| spec["rules"] = rules), "prod", &pair()).unwrap();
        assert_eq!((service.throughput, service.policy.guard_s()), (true, 600));
        assert_ne!(service.policy, Policy::default().with_guard(600).unwrap(), "p99 has its own thresholds");
    }

    /// The CRD's rules refuse it, where the API server has them.
    #[test]
    fn what_the_parser_refuses_is_said() {
        let wrong = spec(|spec| spec["rules"] = json!({ "regression": "0.1%" }));
        let said = of(&wrong, "prod", &pair()).unwrap_err();
        assert!(said.contains("regression must be from 1% to 1000%"), "{said}");
        let name = spec(|spec| spec["targets"][0]["name"] = "../shop".into());
        assert!(of(&name, "prod", &pair()).unwrap_err().contains("is no name of an object"));
    }
}
