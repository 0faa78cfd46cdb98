//! Puts weights into a document's text and proves that nothing else moved: pure.

use std::ops::Range;

use serde_json::Value;

use super::{
    document::{Document, Weight, at_mut, values, weight_of},
    splits::Path,
};

/// One weight to write.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SetWeight {
    /// Of the destination.
    pub(super) path: Path,
    /// The route, for people.
    pub(super) place: String,
    pub(super) weight: u32,
}

/// Why a document cannot be edited.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}")]
pub(super) struct EditError {
    /// The route.
    pub(super) place: String,
    /// What stands in the way, and what to do.
    pub(super) reason: String,
}

/// The document's text with these weights. A weight that is missing is written before `first_key`.
pub(super) fn set_weights(
    document: &Document<'_>,
    weights: &[SetWeight],
    first_key: &'static str,
) -> Result<String, EditError> {
    let mut splices: Vec<Splice<'_>> =
        weights.iter().map(|set| splice(document, set, first_key)).collect::<Result<_, _>>()?;
    splices.sort_by(|a, b| (a.at.start, a.at.end, &a.text).cmp(&(b.at.start, b.at.end, &b.text)));
    // An anchored destination that several routes share is one edit, if they agree on it.
    splices.dedup_by(|a, b| a.at == b.at && a.text == b.text);
    let mut text = String::with_capacity(document.text.len() + 32 * splices.len());
    let mut done = 0;
    for splice in &splices {
        // Where two splices overlap there is nothing to keep between them: they disagree.
        text.push_str(document.text.get(done..splice.at.start).ok_or_else(|| shared(splice.place))?);
        text.push_str(&splice.text);
        done = splice.at.end;
    }
    text.push_str(document.text.get(done..).unwrap_or_default());
    prove(document, weights, &text)?;
    Ok(text)
}

/// A piece of text in place of another.
struct Splice<'s> {
    at: Range<usize>,
    text: String,
    place: &'s str,
}

fn splice<'s>(document: &Document<'_>, set: &'s SetWeight, first_key: &'static str) -> Result<Splice<'s>, EditError> {
    let place = set.place.as_str();
    let elsewhere = |_| EditError {
        place: place.to_owned(),
        reason: "a destination of it is written elsewhere (an anchor or a merge key): write it out in the route"
            .to_owned(),
    };
    if document.weight(&set.path) != Weight::Missing {
        let at = document.span(&weight_of(&set.path)).map_err(elsewhere)?;
        return Ok(Splice { at, text: set.weight.to_string(), place });
    }
    let mut first = set.path.clone();
    first.push(first_key.into());
    let key = document.key_span(&first).map_err(elsewhere)?;
    let destination = document.span(&set.path).map_err(elsewhere)?;
    let text = insertion(document.text, &destination, &key, set.weight);
    Ok(Splice { at: key.start..key.start, text, place })
}

/// A weight to be put before a key of a mapping, in the style of the mapping and of the key.
fn insertion(text: &str, mapping: &Range<usize>, key: &Range<usize>, weight: u32) -> String {
    let quote = match text.get(key.start..).and_then(|key| key.chars().next()) {
        Some(quote @ ('"' | '\'')) => quote.to_string(),
        _ => String::new(),
    };
    let pair = format!("{quote}weight{quote}: {weight}");
    if text.get(mapping.start..).is_some_and(|mapping| mapping.starts_with('{')) {
        return format!("{pair}, ");
    }
    let before = text.get(..key.start).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    format!("{pair}{end}{}", " ".repeat(line.chars().count()))
}

/// That the new text means the old with these weights, and nothing else.
fn prove(document: &Document<'_>, weights: &[SetWeight], text: &str) -> Result<(), EditError> {
    let mut expected = document.value.clone();
    for set in weights {
        let destination = at_mut(&mut expected, &set.path).and_then(Value::as_object_mut);
        let destination = destination.ok_or_else(|| shared(&set.place))?;
        destination.insert("weight".to_owned(), set.weight.into());
    }
    let place = weights.first().map(|set| set.place.as_str()).unwrap_or_default();
    if values(text).is_ok_and(|after| after == expected) { Ok(()) } else { Err(shared(place)) }
}

fn shared(place: &str) -> EditError {
    EditError {
        place: place.to_owned(),
        reason: "changing its weights would change something else (an anchor, an alias or unusual YAML): write the \
                 route out in full"
            .to_owned(),
    }
}
