use super::{
    problem::{Fault, Place, Problem},
    yaml::{Key, Node, Value, shortened},
};

/// A mapping that is being read, key by key. What goes wrong is noted and reading goes on, so that one run finds
/// everything.
pub(super) struct Section<'a> {
    path: String,
    place: Place,
    entries: &'a [(Key, Node)],
    /// The keys that were asked for, which are all that may be there.
    known: Vec<&'static str>,
    problems: &'a mut Vec<Problem>,
}

/// How like a known key another must be to be taken for a slip: Jaro-Winkler similarity, from 0 to 1. `regresion`
/// is 0.98 like `regression`; words of the same length that share nothing but a few letters stay below 0.7.
const SIMILAR: f64 = 0.8;

impl<'a> Section<'a> {
    /// Reads a mapping: every key that `fields` does not ask for is a problem. `None` when it is not a mapping,
    /// or when `fields` says so.
    pub(super) fn read<T>(
        node: &'a Node,
        path: String,
        problems: &'a mut Vec<Problem>,
        fields: impl FnOnce(&mut Section<'_>) -> Option<T>,
    ) -> Option<T> {
        let Value::Map(entries) = &node.value else {
            let fault = Fault::not(&node.value, "a mapping: `key: value` lines");
            problems.push(Problem::new(node.place, path, fault));
            return None;
        };
        let mut section = Section { path, place: node.place, entries, known: Vec::new(), problems };
        let read = fields(&mut section);
        section.report_unknown_keys();
        read
    }

    /// A value that must be there. `None` when it is not, or is wrong.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        expected: &'static str,
        parse: impl FnOnce(&Node) -> Result<T, Fault>,
    ) -> Option<T> {
        if self.get(key).is_none() {
            self.note(key, Fault::Missing { expected });
        }
        self.optional(key, parse)
    }

    /// A value that may be left out. `None` when it is, or is wrong.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&Node) -> Result<T, Fault>,
    ) -> Option<T> {
        let node = self.get(key)?;
        parse(node).map_err(|fault| self.note(key, fault)).ok()
    }

    /// A list of values that may be left out. Without those that are wrong.
    pub(super) fn values<T>(
        &mut self,
        key: &'static str,
        expected: &'static str,
        mut parse: impl FnMut(&Node) -> Result<T, Fault>,
    ) -> Vec<T> {
        let path = self.path_of(key);
        let items = self.items(key, expected).iter().enumerate();
        let parsed = items.filter_map(|(i, item)| {
            let noted = |fault| self.problems.push(Problem::new(item.place, format!("{path}[{i}]"), fault));
            parse(item).map_err(noted).ok()
        });
        parsed.collect()
    }

    /// A mapping that may be left out.
    pub(super) fn section<T>(
        &mut self,
        key: &'static str,
        fields: impl FnOnce(&mut Section<'_>) -> Option<T>,
    ) -> Option<T> {
        let node = self.get(key)?;
        let path = self.path_of(key);
        Section::read(node, path, self.problems, fields)
    }

    /// A list of mappings that may be left out. Without those that are wrong.
    pub(super) fn sections<T>(
        &mut self,
        key: &'static str,
        expected: &'static str,
        mut fields: impl FnMut(&mut Section<'_>) -> Option<T>,
    ) -> Vec<T> {
        let path = self.path_of(key);
        let items = self.items(key, expected).iter().enumerate();
        items.filter_map(|(i, item)| Section::read(item, format!("{path}[{i}]"), self.problems, &mut fields)).collect()
    }

    /// Notes what is wrong with the value of `key`, or with there being none.
    pub(super) fn note(&mut self, key: &str, fault: Fault) {
        let entry = self.entries.iter().find(|(k, _)| k.name == key);
        let place = entry.map_or(self.place, |(_, node)| node.place);
        let path = self.path_of(key);
        self.problems.push(Problem::new(place, path, fault));
    }

    /// How many problems there are so far.
    pub(super) fn problems(&self) -> usize {
        self.problems.len()
    }

    /// This section's own path.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The value of `key`. A key with nothing behind it (as when all of a section is commented out) is not there.
    fn get(&mut self, key: &'static str) -> Option<&'a Node> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        let (_, node) = self.entries.iter().find(|(k, _)| k.name == key)?;
        (!matches!(node.value, Value::Nothing)).then_some(node)
    }

    fn items(&mut self, key: &'static str, expected: &'static str) -> &'a [Node] {
        match self.get(key) {
            Some(Node { value: Value::List(items), .. }) => items,
            Some(other) => {
                self.note(key, Fault::not(&other.value, expected));
                &[]
            }
            None => &[],
        }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn report_unknown_keys(self) {
        let unknown = self.entries.iter().filter(|(key, _)| !self.known.contains(&key.name.as_str()));
        for (key, _) in unknown {
            let name = shortened(&key.name);
            let path = self.path_of(&name);
            let fault = Fault::UnknownKey { remedy: remedy(&name, &self.known), key: name };
            self.problems.push(Problem::new(key.place, path, fault));
        }
    }
}

fn remedy(key: &str, known: &[&str]) -> String {
    let key = key.to_lowercase();
    let likeness = |known: &str| strsim::jaro_winkler(&key, known);
    let nearest = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest.filter(|nearest| likeness(nearest) >= SIMILAR) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!("the keys here are {}", known.join(", ")),
    }
}
