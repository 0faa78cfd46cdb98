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
