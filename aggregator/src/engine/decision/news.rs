//! Which events are told: what stands is told at once, once, and then at growing distances. Decided by the events alone, so that a restart
//! tells nothing again.

use std::time::Duration;

use serin_proto::v1::{DecisionEvent, DecisionStage};

use crate::time::UnixMicros;

/// Each time that one of a kind was told within this long, the next one waits for twice as long.
const LATELY: Duration = Duration::from_secs(3 * 24 * 3_600);
/// Who was told of a trouble that goes on is reminded after 15 min, and in the end every 8 h.
const REMIND: Pace = Pace { first: Duration::from_secs(15 * 60), longest: Duration::from_secs(8 * 3_600) };
/// Who was told that it is over is told sooner that it is back: the last word is to be true. What comes and goes is told hourly in the end.
const BACK: Pace = Pace { first: Duration::from_secs(60), longest: Duration::from_secs(3_600) };

struct Pace {
    first: Duration,
    longest: Duration,
}

impl Pace {
    /// How long after it was told so many times it is told again.
    fn after(&self, times: usize) -> Duration {
        let doubled = 2_u32.saturating_pow(u32::try_from(times).unwrap_or(u32::MAX).saturating_sub(1));
        self.first.saturating_mul(doubled).min(self.longest)
    }
}

/// Whether an event is to be added to those that were told.
pub(super) fn is_news(told: &[DecisionEvent], stage: DecisionStage, sentence: &str, now: UnixMicros) -> bool {
    let Some(last) = told.last() else { return true };
    let kind = kind(stage, sentence);
    let is_alike = |event: &&DecisionEvent| event.stage() == stage && self::kind(stage, &event.sentence) == kind;
    let is_bad = is_bad(stage);
    if !is_bad && is_alike(&last) {
        return false;
    }
    // After something else anything good is news.
    let since =
        if is_good(stage) { told.iter().rposition(|event| !is_good(event.stage())).map_or(0, |at| at + 1) } else { 0 };
    let lately = |event: &&DecisionEvent| now.since(UnixMicros(event.unix_us)) < LATELY;
    let alike = || told.iter().skip(since).filter(is_alike).filter(lately);
    let Some(newest) = alike().next_back() else { return true };
    let pace = if is_bad && is_good(last.stage()) { BACK } else { REMIND };
    now.since(UnixMicros(newest.unix_us)) >= pace.after(alike().count())
}

fn is_good(stage: DecisionStage) -> bool {
    matches!(stage, DecisionStage::Written | DecisionStage::Confirmed)
}

fn is_bad(stage: DecisionStage) -> bool {
    matches!(stage, DecisionStage::Failed | DecisionStage::NotInEffect | DecisionStage::NotKnown)
}

/// What a sentence says, whatever its figures are. Of what holds a rollback back they count: each pause is one of its own.
fn kind(stage: DecisionStage, sentence: &str) -> String {
    let figure = |word: &str| word.trim_start_matches('(').starts_with(|c: char| c.is_ascii_digit());
    let is_figure = |word: &str| figure(word) && (is_bad(stage) || is_good(stage));
    sentence.split(' ').map(|word| if is_figure(word) { "#" } else { word }).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_S: u64 = 1_000_000;

    #[derive(Default)]
    struct Told(Vec<DecisionEvent>);

    impl Told {
        fn is_told(&mut self, second: u64, stage: DecisionStage, sentence: &str) -> bool {
            let now = UnixMicros::from_second(START_S + second);
            let is_news = is_news(&self.0, stage, sentence, now);
            if is_news {
                self.0.push(DecisionEvent { unix_us: now.0, stage: stage.into(), sentence: sentence.to_owned() });
            }
            is_news
        }
    }

    #[test]
    fn what_goes_on_is_told_at_growing_distances() {
        let mut told = Told::default();
        let mut is_told =
            |minute| told.is_told(60 * minute, DecisionStage::NotInEffect, &format!("{minute}.5% of them"));
        let minutes: Vec<u64> = (0..7 * 24 * 60).filter(|minute| is_told(*minute)).collect();
        assert_eq!(minutes[..8], [0, 15, 45, 105, 225, 465, 945, 1_425]);
        assert!(minutes.windows(2).skip(6).all(|two| two[1] - two[0] == 480), "{minutes:?}");
    }

    #[test]
    fn what_is_over_is_told_and_what_is_back_soon_after() {
        use DecisionStage::{Confirmed, NotInEffect};
        let mut told = Told::default();
        assert!(told.is_told(0, NotInEffect, "gets some"));
        assert!(told.is_told(10, Confirmed, "gets none"));
        assert!(!told.is_told(20, NotInEffect, "gets some"));
        assert!(!told.is_told(30, Confirmed, "gets none"), "it was not told that it is back");
        assert!(told.is_told(60, NotInEffect, "gets some"));
        assert!(!told.is_told(61, NotInEffect, "gets some"));
        assert!(told.is_told(62, Confirmed, "gets none"));
        let back: Vec<u64> = (63..86_400)
            .filter(|second| {
                let is_told = told.is_told(*second, NotInEffect, "gets some");
                is_told && {
                    assert!(told.is_told(*second, Confirmed, "gets none"));
                    true
                }
            })
            .collect();
        assert_eq!(back[..5], [180, 420, 900, 1_860, 3_780]);
        assert!(back.len() < 32, "{}", back.len());
    }

    #[test]
    fn other_words_are_other_news_and_other_figures_are_not() {
        let mut told = Told::default();
        assert!(told.is_told(0, DecisionStage::Failed, "VirtualService shop-1: 403"));
        assert!(told.is_told(0, DecisionStage::Failed, "VirtualService shop-2: 403"));
        assert!(!told.is_told(30, DecisionStage::Failed, "VirtualService shop-1: 404"));
        assert!(told.is_told(30, DecisionStage::NotInEffect, "from client-7 (9.1% of its own)"));
        assert!(!told.is_told(31, DecisionStage::NotInEffect, "from client-7 (8.5% of its own)"));
        assert!(told.is_told(32, DecisionStage::NotWritten, "paused since 10:00"));
        assert!(told.is_told(40, DecisionStage::NotWritten, "paused since 11:00"));
        assert!(!told.is_told(90_000, DecisionStage::NotWritten, "paused since 11:00"), "the last word stands");
    }
}
