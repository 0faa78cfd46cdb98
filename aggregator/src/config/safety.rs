//! `safety`, and what a rollback does: pure.

use super::{
    Safety,
    problem::Fault,
    scalar,
    section::Section,
    yaml::{Node, Value},
};

/// More than any day of an on-call engineer has; so many services that regress within an hour have a common cause.
const ROLLBACKS_PER_HOUR: u32 = 10;
const COUNT: &str = "a whole number from 1 to 1000; `serin pause` is for none";
const ACTION: &str = "`rollback` or `notify`";

pub(super) fn usual() -> Safety {
    Safety { rollbacks_per_hour: ROLLBACKS_PER_HOUR, dry_run: false }
}

pub(super) fn read(safety: &mut Section<'_>) -> Option<Safety> {
    let usual = usual();
    let rollbacks_per_hour = safety.optional("rollbacks_per_hour", count).unwrap_or(usual.rollbacks_per_hour);
    let dry_run = safety.optional("dry_run", scalar::switch).unwrap_or(usual.dry_run);
    Some(Safety { rollbacks_per_hour, dry_run })
}

fn count(node: &Node) -> Result<u32, Fault> {
    match node.value {
        Value::Number(value) if value.fract() == 0.0 && (1.0..=1_000.0).contains(&value) => Ok(value as u32),
        _ => Err(Fault::not(&node.value, COUNT)),
    }
}

/// Whether a regression is only told.
pub(super) fn action(node: &Node) -> Result<bool, Fault> {
    match &node.value {
        Value::Text(text) if text == "rollback" => Ok(false),
        Value::Text(text) if text == "notify" => Ok(true),
        _ => Err(Fault::not(&node.value, ACTION)),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Safety};

    const SERVICE: &str = "{name: shop, vantage: gateway, baseline: v1, candidate: v2";

    #[test]
    fn limits_have_defaults_and_bounds() {
        let read = |safety: &str| {
            Config::parse(&format!("services: [{SERVICE}}}]\n{safety}")).map_err(|problems| problems.to_string())
        };
        let safety = |rollbacks_per_hour, dry_run| Safety { rollbacks_per_hour, dry_run };
        assert_eq!(read("").unwrap().safety, safety(10, false));
        assert_eq!(read("safety: {rollbacks_per_hour: 3, dry_run: true}").unwrap().safety, safety(3, true));
        for (wrong, path) in [
            ("{rollbacks_per_hour: 0}", "safety.rollbacks_per_hour: the number 0 is not allowed"),
            ("{rollbacks_per_hour: 1.5}", "safety.rollbacks_per_hour: the number 1.5 is not allowed"),
            ("{dry_run: 1}", "safety.dry_run: the number 1 is not allowed"),
            ("{pause: true}", "safety.pause: unknown key `pause`"),
        ] {
            let problems = read(&format!("safety: {wrong}")).unwrap_err();
            assert!(problems.contains(path), "{problems}");
        }
    }

    #[test]
    fn a_service_may_only_tell() {
        let read = |action: &str| Config::parse(&format!("services: [{SERVICE}, rollback: {{action: {action}}}}}]"));
        assert!(read("notify").unwrap().services[0].rollback.only_tells);
        assert!(!read("rollback").unwrap().services[0].rollback.only_tells);
        assert!(read("page").unwrap_err().to_string().contains("write `rollback` or `notify`"));
    }
}
