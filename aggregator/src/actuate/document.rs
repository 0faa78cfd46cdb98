//! One YAML document as values and as text: pure.

use serde_json::Value;
use yamlpath::{Component, QueryError, Route};

use super::splits::Path;

/// The most lines that can be edited: yamlpath's grammar (tree-sitter-yaml 0.7) counts them in 16 bits and refuses
/// what is longer.
const MAX_LINES: usize = i16::MAX as usize;

/// A parsed document that still knows where its values stand in the text.
pub(super) struct Document<'t> {
    pub(super) text: &'t str,
    pub(super) value: Value,
    syntax: yamlpath::Document,
}

/// What a document says about one weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// Nothing.
    Missing,
    /// A plain whole number.
    Number(u32),
    /// Something else, as it is written.
    Other(String),
}

impl<'t> Document<'t> {
    /// Reads one document, or says why it cannot be read.
    pub(super) fn parse(text: &'t str) -> Result<Self, String> {
        let value = values(text)?;
        let lines = text.lines().count();
        if lines > MAX_LINES {
            return Err(format!("it has {lines} lines, over the limit of {MAX_LINES} for one document: split it"));
        }
        let syntax = yamlpath::Document::new(text).map_err(|error| error.to_string())?;
        Ok(Document { text, value, syntax })
    }

    /// The weight of the destination at this path.
    pub(super) fn weight(&self, destination: &[Component<'static>]) -> Weight {
        let Some(value) = at(&self.value, destination).and_then(|destination| destination.get("weight")) else {
            return Weight::Missing;
        };
        // What is not written in place (a merge key's) is taken for what it means; edits find out.
        let written = match self.span(&weight_of(destination)) {
            Ok(span) => self.text.get(span.clone()).unwrap_or_default().to_owned(),
            Err(_) => value.to_string(),
        };
        match value.as_u64().and_then(|weight| u32::try_from(weight).ok()) {
            // The text as well, because parsers differ on what 010, 1_0 or 0x10 are.
            Some(weight) if written == weight.to_string() => Weight::Number(weight),
            _ => Weight::Other(written),
        }
    }

    /// Where the value at this path stands, in bytes of the text.
    pub(super) fn span(&self, path: &[Component<'static>]) -> Result<std::ops::Range<usize>, QueryError> {
        let feature = self.syntax.query_exact(&Route::from(path.to_vec()))?;
        let feature = feature.ok_or_else(|| QueryError::Other("there is no value".to_owned()))?;
        Ok(feature.location.byte_span.0..feature.location.byte_span.1)
    }

    /// Where the last key of this path stands, in bytes of the text.
    pub(super) fn key_span(&self, path: &[Component<'static>]) -> Result<std::ops::Range<usize>, QueryError> {
        let feature = self.syntax.query_key_only(&Route::from(path.to_vec()))?;
        Ok(feature.location.byte_span.0..feature.location.byte_span.1)
    }
}

/// What a document means, without how it is written.
pub(super) fn values(text: &str) -> Result<Value, String> {
    serde_saphyr::from_str(text).map_err(|error| {
        let message = error.to_string();
        let first = message.lines().next().unwrap_or_default();
        let first = first.strip_prefix("error: ").unwrap_or(first);
        format!("it is not valid YAML (lines counted from the document's first): {first}")
    })
}

/// The path of a destination's weight.
pub(super) fn weight_of(destination: &[Component<'static>]) -> Path {
    let mut path = destination.to_vec();
    path.push("weight".into());
    path
}

fn at<'v>(value: &'v Value, path: &[Component<'static>]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, step| match step {
        Component::Key(key) => value.get(key.as_ref()),
        Component::Index(index) => value.get(index),
    })
}

/// The value at a path, to change it.
pub(super) fn at_mut<'v>(value: &'v mut Value, path: &[Component<'static>]) -> Option<&'v mut Value> {
    path.iter().try_fold(value, |value, step| match step {
        Component::Key(key) => value.get_mut(key.as_ref()),
        Component::Index(index) => value.get_mut(index),
    })
}

/// The documents of a YAML stream, each from its `---` line on; put together they are the stream again.
///
/// A line that begins with `---`, followed by white space or nothing, starts a document wherever it stands, also
/// inside a block scalar (YAML 1.2.2, rule 206 `c-forbidden`).
pub(super) fn documents(stream: &str) -> Vec<&str> {
    let mut starts = vec![0];
    let mut at = 0;
    for line in stream.split_inclusive('\n') {
        let rest = line.strip_prefix("---");
        if at > 0 && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n'])) {
            starts.push(at);
        }
        at += line.len();
    }
    starts.push(stream.len());
    starts.windows(2).filter_map(|bounds| stream.get(*bounds.first()?..*bounds.last()?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn where_documents_start() {
        let check = |stream: &str, parts: &[&str]| assert_eq!(documents(stream), parts);
        check("", &[""]);
        check("a: 1\n", &["a: 1\n"]);
        check("---\na: 1\n---\nb: 2", &["---\na: 1\n", "---\nb: 2"]);
        check(
            "# top\r\n---\r\na: 1\r\n--- # two\r\nb: 2\r\n",
            &["# top\r\n", "---\r\na: 1\r\n", "--- # two\r\nb: 2\r\n"],
        );
        check("a: |\n  ---\n ---\n----\n---b\n", &["a: |\n  ---\n ---\n----\n---b\n"]);
    }

    #[test]
    fn weights_as_they_are_written() {
        let check = |written: &str, expected: Weight| {
            let text = format!("- {{destination: x{written}}}\n");
            assert_eq!(Document::parse(&text).unwrap().weight(&[0.into()]), expected, "{text}");
        };
        let other = |text: &str| Weight::Other(text.to_owned());
        check("", Weight::Missing);
        check(", weight: 10", Weight::Number(10));
        check(", \"weight\": 0", Weight::Number(0));
        check(", weight: &w 10", Weight::Number(10));
        check(", weight: 4294967295", Weight::Number(u32::MAX));
        for bad in [
            "4294967296",
            "99999999999999999999999",
            "-1",
            "1.5",
            "10.0",
            "'10'",
            "\"10\"",
            "010",
            "0x10",
            "1_0",
            "ten",
            "null",
            "[10]",
        ] {
            check(&format!(", weight: {bad}"), other(bad));
        }
        assert!(matches!(Document::parse("- weight:\n").unwrap().weight(&[0.into()]), Weight::Other(_)));
    }

    #[test]
    fn as_many_lines_as_can_be_edited() {
        let lines = |count: usize| "- weight: 10\n".repeat(count);
        let most = lines(MAX_LINES);
        assert_eq!(
            Document::parse(&most).map(|document| document.weight(&[(MAX_LINES - 1).into()])),
            Ok(Weight::Number(10))
        );
        let error = Document::parse(&lines(MAX_LINES + 1)).map(|_| ()).unwrap_err();
        assert!(error.starts_with("it has 32768 lines"), "{error}");
    }

    proptest! {
        #[test]
        fn documents_are_all_of_the_stream(stream in "(---|-|\r?\n| |a|: ){0,40}") {
            prop_assert_eq!(documents(&stream).concat(), stream);
        }

        #[test]
        fn parsing_never_panics(text in "([-{}\\[\\]&*!|>:,#'\"?%@ \n\r\t]|a|<<|---|weight|10){0,60}") {
            let _ = Document::parse(&text).map(|document| document.weight(&["a".into(), 0.into()]));
        }
    }
}
