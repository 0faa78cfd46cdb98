use std::fmt;

use serin_history::RetentionError;
use serin_judge::PolicyError;

use super::yaml::Value;

/// Everything that is wrong with a configuration, in the order of the file. Displayed one problem a line.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub struct Problems(Vec<Problem>);

/// One thing that is wrong with a configuration: where, what, and what to write instead.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    place: Place,
    path: String,
    fault: Fault,
}

/// A place in the file, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    line: u64,
    column: u64,
}

/// What is wrong at a place.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum Fault {
    #[error("the file has {bytes} bytes; at most {most} are read")]
    TooLarge { bytes: usize, most: usize },
    #[error("not valid YAML: {0}")]
    NotYaml(String),
    #[error("`{key}` is here for the second time: keep one")]
    Twice { key: String },
    #[error("a second document begins here: keep one `---`")]
    SecondDocument,
    #[error("missing: write {expected}")]
    Missing { expected: &'static str },
    #[error("unknown key `{key}`; {remedy}")]
    UnknownKey { key: String, remedy: String },
    #[error("{shown} is not allowed: write {expected}")]
    Not { shown: String, expected: &'static str },
    #[error("`{shown}` is already used by {by}: {remedy}")]
    Taken { shown: String, by: String, remedy: &'static str },
    #[error("{count} services are too many: at most {most}")]
    TooMany { count: usize, most: usize },
    #[error("{shown} is not allowed: {source}")]
    Policy { shown: String, source: PolicyError },
    #[error("{0}")]
    Retention(RetentionError),
}

impl Problems {
    pub(super) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.place);
        Problems(problems)
    }

    /// The problems in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Problem> {
        self.0.iter()
    }
}

impl Problem {
    pub(super) fn new(place: Place, path: String, fault: Fault) -> Self {
        Problem { place, path, fault }
    }

    /// A problem with the whole file.
    pub(super) fn of_file(place: Place, fault: Fault) -> Self {
        Problem::new(place, String::new(), fault)
    }

    /// The key that is wrong, such as `services[0].judge.regression`; empty when it is the whole file.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The line it is on, from 1.
    pub fn line(&self) -> u64 {
        self.place.line
    }
}

impl Fault {
    /// A value that is not what the key takes.
    pub(super) fn not(value: &Value, expected: &'static str) -> Self {
        Fault::Not { shown: value.to_string(), expected }
    }
}

impl Place {
    pub(super) const START: Place = Place { line: 1, column: 1 };
}

impl From<serde_saphyr::Location> for Place {
    fn from(location: serde_saphyr::Location) -> Self {
        Place { line: location.line(), column: location.column() }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            let end_of_the_one_before = if i == 0 { "" } else { "\n" };
            write!(f, "{end_of_the_one_before}{problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { line, column } = self.place;
        if self.path.is_empty() {
            write!(f, "line {line}, column {column}: {}", self.fault)
        } else {
            write!(f, "line {line}: {}: {}", self.path, self.fault)
        }
    }
}
