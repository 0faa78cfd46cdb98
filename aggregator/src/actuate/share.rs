//! The candidate's share of the weights in a file: pure.

use super::{
    document::{Document, Weight, documents},
    splits::{Finder, Found, Split},
    weights::Role,
};

/// The candidate's share in each split of a file; `None` of one that cannot be told.
pub(super) fn shares(stream: &str, finder: &Finder) -> Vec<Option<f64>> {
    let mut shares = Vec::new();
    for text in documents(stream).into_iter().filter(|text| finder.concerns(text)) {
        let Ok(document) = Document::parse(text) else { return vec![None] };
        let (Ok(found), Ok(of_baseline)) = (finder.find(&document.value), finder.swapped().find(&document.value))
        else {
            shares.push(None);
            continue;
        };
        let splits = found.iter().filter_map(|found| match found {
            // It has the candidate besides its share, such as a header chooses it.
            Found::Straight { .. } => None,
            Found::Split(split) => Some(share(&document, split)),
        });
        shares.extend(splits);
        if of_baseline.iter().any(is_without_candidate) {
            shares.push(None);
        }
    }
    shares
}

/// Whether a route of the baseline's takes requests away from the others, so that the candidate gets less than its share there. The names
/// are swapped.
fn is_without_candidate(found: &Found) -> bool {
    match found {
        Found::Straight { .. } => true,
        Found::Split(split) => !split.has(Role::Baseline),
    }
}

fn share(document: &Document<'_>, split: &Split) -> Option<f64> {
    let (mut candidate, mut all) = (0.0, 0.0);
    for (i, destination) in split.destinations.iter().enumerate() {
        let weight = match document.weight(&split.destination(i)) {
            Weight::Missing => 0.0,
            Weight::Number(weight) => f64::from(weight),
            Weight::Other(_) => return None,
        };
        all += weight;
        candidate += if destination.role == Role::Candidate { weight } else { 0.0 };
    }
    (all > 0.0).then(|| candidate / all)
}

/// The share that all splits have; `None` where they differ, or one cannot be told.
pub(super) fn common(shares: &[Option<f64>]) -> Option<f64> {
    let first = shares.first().copied().flatten()?;
    shares.iter().all(|share| *share == Some(first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(routes: &[&str]) -> Option<f64> {
        let mut text = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nspec:\n  http:\n".to_owned();
        for route in routes {
            text.push_str(&format!("  - route: [{route}]\n"));
        }
        let [host, baseline, candidate] = ["shop", "v1", "v2"].map(str::to_owned);
        common(&shares(&text, &Finder::VirtualServices { host, baseline, candidate }))
    }

    fn to(subset: &str, weight: &str) -> String {
        format!("{{destination: {{host: shop, subset: {subset}}}, weight: {weight}}}")
    }

    #[test]
    fn one_share_that_all_routes_have() {
        let split = |a: &str, b: &str| [to("v1", a), to("v2", b)].join(", ");
        assert_eq!(of(&[&split("95", "5")]), Some(0.05));
        assert_eq!(of(&[&split("80", "20"), &split("4", "1")]), Some(0.2));
        assert_eq!(of(&[&split("80", "20"), &split("90", "10")]), None, "they differ");
        assert_eq!(of(&[&split("80", "ten")]), None);
        assert_eq!(of(&[&split("0", "0")]), None);
        assert_eq!(of(&[&to("v1", "100")]), None, "the candidate is nowhere");
        assert_eq!(of(&[&to("v1", "100"), &split("90", "10")]), None, "an unknown part never gets the candidate");
        assert_eq!(of(&[&to("v2", "100"), &split("90", "10")]), Some(0.1), "testers get the candidate besides");
        assert_eq!(
            common(&shares(
                "kind: VirtualService\nspec: [",
                &Finder::EnvoyRds { baseline: "a".into(), candidate: "b".into() }
            )),
            None
        );
    }
}
