//! From a file's text to its new text and what changes in it: pure.

use super::{
    document::{Document, Weight, documents},
    edit::{EditError, SetWeight, set_weights},
    outcome::Reweighted,
    splits::{Finder, Found, Split},
    weights::{Role, rebalance},
};

/// What to make of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// The whole file, afterwards.
    pub(super) text: String,
    pub(super) changes: Vec<Planned>,
    /// The places where the candidate has weight 0.
    pub(super) already: Vec<String>,
    /// Routes that a person has to change.
    pub(super) left: Vec<About>,
    /// Documents that could not be looked at.
    pub(super) unread: Vec<About>,
}

/// New weights for one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) place: String,
    pub(super) weights: Vec<Reweighted>,
}

/// Something about a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct About {
    pub(super) place: String,
    pub(super) reason: String,
}

/// Plans the whole of a file.
///
/// # Errors
///
/// When a weight cannot be changed without changing something else: then nothing of the file is.
pub(super) fn plan(stream: &str, finder: &Finder) -> Result<Plan, EditError> {
    let mut plan = Plan::default();
    for text in documents(stream) {
        let planned = if finder.concerns(text) { plan_document(text, finder, &mut plan) } else { Ok(None) };
        match planned {
            Ok(after) => plan.text.push_str(after.as_deref().unwrap_or(text)),
            Err(Problem::Edit(error)) => return Err(error),
            Err(Problem::Unread(reason)) => {
                let line = plan.text.lines().count() + 1;
                plan.text.push_str(text);
                plan.unread.push(About { place: format!("document from line {line}"), reason });
            }
        }
    }
    Ok(plan)
}

enum Problem {
    Unread(String),
    Edit(EditError),
}

/// The document's new text, if there is one.
fn plan_document(text: &str, finder: &Finder, plan: &mut Plan) -> Result<Option<String>, Problem> {
    let document = Document::parse(text).map_err(Problem::Unread)?;
    let mut sets = Vec::new();
    for found in finder.find(&document.value).map_err(Problem::Unread)? {
        match found {
            Found::Straight { place } => {
                let reason = format!("all its requests go to the candidate: send them to {} by hand", finder.instead());
                plan.left.push(About { place, reason });
            }
            Found::Split(split) => match plan_split(&document, &split, finder) {
                Step::Already => plan.already.push(split.place),
                Step::Left(reason) => plan.left.push(About { place: split.place, reason }),
                Step::Change { weights, sets: more } => {
                    plan.changes.push(Planned { place: split.place, weights });
                    sets.extend(more);
                }
            },
        }
    }
    if sets.is_empty() {
        return Ok(None);
    }
    set_weights(&document, &sets, finder.first_key()).map(Some).map_err(Problem::Edit)
}

/// What to do about one split.
enum Step {
    Already,
    Left(String),
    Change { weights: Vec<Reweighted>, sets: Vec<SetWeight> },
}

fn plan_split(document: &Document<'_>, split: &Split, finder: &Finder) -> Step {
    let mut before = Vec::new();
    for (i, destination) in split.destinations.iter().enumerate() {
        match document.weight(&split.destination(i)) {
            Weight::Missing => before.push(0),
            Weight::Number(weight) => before.push(weight),
            Weight::Other(written) => {
                let label = &destination.label;
                return Step::Left(format!(
                    "the weight of {label} is `{written}`: write a plain whole number from 0 to {}",
                    u32::MAX
                ));
            }
        }
    }
    let roles: Vec<Role> = split.destinations.iter().map(|destination| destination.role).collect();
    let candidate_at_0 = before.iter().zip(&roles).all(|(&weight, &role)| role != Role::Candidate || weight == 0);
    let has_weights = before.iter().any(|&weight| weight > 0);
    if candidate_at_0 && has_weights {
        return Step::Already;
    }
    if !split.has(Role::Baseline) {
        return Step::Left(format!("it has the candidate but not {}: change it by hand", finder.instead()));
    }
    let Some(after) = rebalance(&before, &roles, finder.total()) else {
        return Step::Left(format!("its weights add up to more than {}: write smaller ones", u32::MAX));
    };
    let (mut weights, mut sets) = (Vec::new(), Vec::new());
    for (i, ((destination, &before), &after)) in split.destinations.iter().zip(&before).zip(&after).enumerate() {
        if before != after {
            weights.push(Reweighted { destination: destination.label.clone(), before, after });
            sets.push(SetWeight { path: split.destination(i), place: split.place.clone(), weight: after });
        }
    }
    if sets.is_empty() { Step::Already } else { Step::Change { weights, sets } }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A destination in one of the ways to write it, at six spaces.
    fn written(style: u8, subset: &str, weight: u32) -> String {
        match style {
            0 => format!(
                "- destination:\n          host: shop # here\n          subset: {subset}\n        weight:  {weight}\n"
            ),
            1 => format!("- weight: {weight}   # of all\n\n        destination: {{host: shop, subset: {subset}}}\n"),
            2 => format!("- {{destination: {{host: shop, subset: {subset}}}, weight: {weight} }}\n"),
            3 => format!(
                "- {{\"weight\":{weight},\n         \"destination\": {{\"subset\": \"{subset}\", \"host\": 'shop'}}}} # x\n"
            ),
            _ => format!(
                "-\n       # weight: 1\n        \"weight\": {weight}\n        destination: &{subset}\n          <<: {{host: shop}}\n          subset: {subset}\n"
            ),
        }
    }

    fn manifest() -> impl Strategy<Value = (String, Vec<[u32; 3]>)> {
        let route = ([0..=4u8, 0..=4u8, 0..=4u8], [0..=100u32, 1..=100u32, 0..=100u32]);
        (prop::collection::vec(route, 1..6), any::<bool>()).prop_map(|(routes, crlf)| {
            let mut text = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nspec:\n  http:\n".to_owned();
            for (styles, weights) in &routes {
                text.push_str("  # next\n  - timeout: 3s\n    route:\n");
                for (i, subset) in ["v1", "v2", "v3"].into_iter().enumerate() {
                    text.push_str(&format!("      {}", written(styles[i], subset, weights[i])));
                }
            }
            let text = if crlf { text.replace('\n', "\r\n") } else { text };
            (text, routes.into_iter().map(|(_, weights)| weights).collect())
        })
    }

    /// The text without the number after each `weight` key.
    fn without_weights(text: &str) -> String {
        let parts = text.split("weight").map(|part| {
            let start =
                part.find(|c: char| c.is_ascii_digit()).filter(|&at| part[..at].trim_matches(['"', ' ']) == ":");
            match start {
                Some(at) => format!("{}{}", &part[..at], part[at..].trim_start_matches(|c: char| c.is_ascii_digit())),
                None => part.to_owned(),
            }
        });
        parts.collect::<Vec<_>>().join("weight")
    }

    proptest! {
        #[test]
        fn only_weights_change((text, routes) in manifest()) {
            let [host, baseline, candidate] = ["shop", "v1", "v2"].map(str::to_owned);
            let finder = Finder::VirtualServices { host, baseline, candidate };
            let first = plan(&text, &finder).unwrap();
            prop_assert_eq!(&first.left, &[]);
            prop_assert_eq!(&first.unread, &[]);
            prop_assert_eq!(first.changes.len(), routes.len());
            for (planned, [v1, v2, v3]) in first.changes.iter().zip(routes) {
                let after = |name: &str, before| {
                    let changed = planned.weights.iter().find(|weight| weight.destination == name);
                    changed.map_or(before, |weight| weight.after)
                };
                prop_assert_eq!(after("v2", v2), 0);
                prop_assert!(after("v1", v1) > 0);
                let total = after("v1", v1) + after("v3", v3);
                prop_assert!(total == 100 || total == v1 + v2 + v3);
            }
            prop_assert_eq!(without_weights(&first.text), without_weights(&text));
            let second = plan(&first.text, &finder).unwrap();
            prop_assert_eq!(second.changes, &[]);
            prop_assert_eq!(second.text, first.text);
        }

        #[test]
        fn any_text_is_planned_or_refused(noise in "([-{}\\[\\]&*!|>:,#'\"?%@ \n\t]|\r\n|weight|v2|---|<<){0,12}", at in 0..400usize) {
            let [host, baseline, candidate] = ["shop", "v1", "v2"].map(str::to_owned);
            let finder = Finder::VirtualServices { host, baseline, candidate };
            let mut text = format!(
                "apiVersion: networking.istio.io/v1\nkind: VirtualService\nspec:\n  http:\n  - route:\n      {}      {}",
                written(0, "v1", 90),
                written(4, "v2", 10)
            );
            text.insert_str(at.min(text.len()), &noise);
            if let Ok(first) = plan(&text, &finder) {
                let second = plan(&first.text, &finder).unwrap();
                prop_assert_eq!(second.changes, &[]);
                prop_assert_eq!(second.text, first.text);
            }
        }
    }
}
