//! The header `Accept` of a scrape (RFC 9110, 12.5.1; pure).

use super::Format;

/// In this order where a scraper likes them alike: what says more comes first, and a protobuf that is named is wanted for its native histograms.
const OFFERED: [Format; 3] = [Format::Protobuf, Format::OpenMetrics, Format::Text];

impl Format {
    /// The one that a scraper prefers which accepts these. One that accepts nothing that there is gets text, as by Prometheus's own exporters.
    pub fn accepted(accept: &str) -> Self {
        let ranges: Vec<Range<'_>> = accept.split(',').filter_map(Range::parse).collect();
        let liked = |format: &Format| {
            let matching = ranges.iter().filter_map(|range| Some((range.names(*format)?, range.quality)));
            // What names it best says how it is liked.
            matching.max_by_key(|(precision, _)| *precision).map_or(0, |(_, quality)| quality)
        };
        let best = OFFERED.into_iter().rev().max_by_key(liked);
        best.filter(|format| liked(format) > 0).unwrap_or(Format::Text)
    }
}

/// One of what is accepted.
struct Range<'a> {
    kind: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    /// In thousandths.
    quality: u16,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let kind = parts.next().filter(|kind| !kind.is_empty())?;
        let mut range = Range { kind, parameters: Vec::new(), quality: 1_000 };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name.eq_ignore_ascii_case("q") {
                range.quality = quality(value)?;
            } else {
                range.parameters.push((name, value));
            }
        }
        Some(range)
    }

    /// How precisely it names a format, where it does.
    fn names(&self, format: Format) -> Option<usize> {
        let (kind, told) = format.content_type().split_once(';').unwrap_or((format.content_type(), ""));
        let (whole, _) = kind.split_once('/').unwrap_or((kind, ""));
        let precision = match self.kind {
            // To one that takes anything, what everything understands.
            "*/*" if format == Format::Text => 1,
            // Protobuf is no format without the message that it is of.
            range if range.eq_ignore_ascii_case(kind) && (format != Format::Protobuf || self.has("proto")) => 3,
            range
                if range.strip_suffix("/*").is_some_and(|of| of.eq_ignore_ascii_case(whole))
                    && format != Format::Protobuf =>
            {
                2
            }
            _ => return None,
        };
        let told: Vec<(&str, &str)> = told.split(';').filter_map(|part| part.trim().split_once('=')).collect();
        // How names are escaped (Prometheus 3) makes no difference to ours.
        let known = self.parameters.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("escaping"));
        let fits = |(name, value): &(&str, &str)| {
            told.iter().any(|(n, v)| n.eq_ignore_ascii_case(name) && v.eq_ignore_ascii_case(value))
        };
        known.clone().all(fits).then(|| precision + known.count())
    }

    fn has(&self, parameter: &str) -> bool {
        self.parameters.iter().any(|(name, _)| name.eq_ignore_ascii_case(parameter))
    }
}

/// A quality from 0 to 1 with at most three decimals, in thousandths.
fn quality(value: &str) -> Option<u16> {
    let parsed: f32 = value.parse().ok()?;
    (0.0..=1.0).contains(&parsed).then_some((parsed * 1_000.0).round() as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Prometheus sends (`scrape/scrape.go`, `acceptHeader`), and what others might.
    #[test]
    fn the_scraper_chooses() {
        const PROTOBUF: &str =
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        let prometheus_2 = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let native = format!("{PROTOBUF};q=0.6,{prometheus_2}");
        for (accept, want) in [
            ("", Format::Text),
            ("*/*", Format::Text),
            (prometheus_2, Format::OpenMetrics),
            (prometheus_3, Format::OpenMetrics),
            (&native, Format::Protobuf),
            (PROTOBUF, Format::Protobuf),
            (
                "application/vnd.google.protobuf; proto=\"io.prometheus.client.MetricFamily\"; encoding=delimited",
                Format::Protobuf,
            ),
            // Of which it understands no other form.
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text,text/plain;q=0.1",
                Format::Text,
            ),
            ("application/vnd.google.protobuf;proto=other.Family", Format::Text),
            ("application/vnd.google.protobuf", Format::Text),
            (&format!("{PROTOBUF};q=0.2,text/plain;q=0.9"), Format::Text),
            (&format!("text/plain;version=0.0.4,{PROTOBUF};q=0.5"), Format::Text),
            ("text/plain;q=0.5,application/openmetrics-text;q=0.4", Format::Text),
            (
                "text/plain;version=0.0.4;q=0.2 , Application/OpenMetrics-Text ; Version=1.0.0 ; Q=0.3",
                Format::OpenMetrics,
            ),
            ("application/openmetrics-text;q=0,*/*;q=0.1", Format::Text),
            ("application/openmetrics-text;version=2.0.0,text/plain;q=0.1", Format::Text),
            ("application/openmetrics-text,text/plain", Format::OpenMetrics),
            ("application/*;q=0.9,text/plain;q=0.1", Format::OpenMetrics),
            ("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", Format::Text),
            ("image/png", Format::Text),
            (";;,,q=7,text/plain;q=nonsense,application/openmetrics-text;q=2", Format::Text),
        ] {
            assert_eq!(Format::accepted(accept), want, "{accept}");
        }
    }
}
