//! `notify`: who is told of decisions. Pure.

use super::{Address, Receiver, ReceiverKind, problem::Fault, scalar, section::Section};

const RECEIVERS: &str = "a list of receivers, such as `- webhook: { url: https://example.com/hook }`";
const KINDS: [(&str, ReceiverKind); 3] =
    [("webhook", ReceiverKind::Webhook), ("slack", ReceiverKind::Slack), ("alertmanager", ReceiverKind::Alertmanager)];

pub(super) fn receivers(file: &mut Section<'_>) -> Vec<Receiver> {
    file.sections("notify", RECEIVERS, |entry| {
        let before = entry.problems();
        let mut found = Vec::new();
        for (key, kind) in KINDS {
            let address = entry.section(key, address);
            found.extend(address.map(|address| (key, Receiver { kind, address })));
        }
        if let [_, (key, _), ..] = found.as_slice() {
            let by = "another receiver in this entry".to_owned();
            entry.note(key, Fault::Taken { shown: (*key).to_owned(), by, remedy: "begin a new entry with `-`" });
        }
        if found.is_empty() && entry.problems() == before {
            entry.note("webhook", Fault::Missing { expected: "`webhook`, `slack` or `alertmanager`" });
        }
        found.pop().map(|(_, receiver)| receiver)
    })
}

fn address(section: &mut Section<'_>) -> Option<Address> {
    let before = section.problems();
    let url = section.optional("url", scalar::url).map(Address::Url);
    let file = section.optional("url_file", scalar::path).map(Address::File);
    if url.is_some() && file.is_some() {
        let by = "`url`".to_owned();
        section.note("url_file", Fault::Taken { shown: "url_file".to_owned(), by, remedy: "give one of the two" });
    }
    if url.is_none() && file.is_none() && section.problems() == before {
        section.note("url", Fault::Missing { expected: "a URL, or as `url_file` a file that has it" });
    }
    url.or(file)
}

#[cfg(test)]
mod tests {
    use crate::config::{Address, Config, Receiver, ReceiverKind};

    const SERVICES: &str = "services: [{name: shop, vantage: gateway, baseline: v1, candidate: v2}]\n";

    fn parse(notify: &str) -> Result<Vec<Receiver>, String> {
        let config = Config::parse(&format!("{SERVICES}notify:\n{notify}"));
        config.map(|config| config.notify).map_err(|problems| problems.to_string())
    }

    #[test]
    fn each_kind_of_receiver() {
        let receivers = parse(
            "- webhook: { url: 'https://example.com/hook' }\n- slack: { url_file: /run/slack }\n- alertmanager: { url: 'http://a:9093' }\n",
        );
        let url = |kind, url: &str| Receiver { kind, address: Address::Url(url.into()) };
        let want = [
            url(ReceiverKind::Webhook, "https://example.com/hook"),
            Receiver { kind: ReceiverKind::Slack, address: Address::File("/run/slack".into()) },
            url(ReceiverKind::Alertmanager, "http://a:9093"),
        ];
        assert_eq!(receivers, Ok(want.to_vec()));
        assert_eq!(parse(""), Ok(Vec::new()));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let check = |notify: &str, says: &str| {
            let said = parse(notify).unwrap_err();
            assert!(said.contains(says) && said.lines().count() == 1, "{notify}: {said}");
        };
        check("- {}\n", "notify[0].webhook: missing: write `webhook`, `slack` or `alertmanager`");
        check("- slack: {}\n", "notify[0].slack.url: missing");
        check("- slack: { url: example.com }\n", "notify[0].slack.url: `example.com` is not allowed");
        check("- slack: { url: 'ftp://example.com' }\n", "write a URL");
        check("- slack: { url: 'http://a', url_file: b }\n", "give one of the two");
        check("- { slack: { url: 'http://a' }, webhook: { url: 'http://a' } }\n", "begin a new entry");
        check("- slakc: { url: 'http://a' }\n  slack: { url: 'http://a' }\n", "did you mean `slack`?");
    }
}
