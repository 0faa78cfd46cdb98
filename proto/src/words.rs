//! The names of enum values as people and metrics see them: `server_error` for `OUTCOME_SERVER_ERROR`.

use crate::v1::{DecisionStage, Outcome, SourceState, Vantage, VerdictState};

macro_rules! words {
    ($($enum:ident, $prefix:literal;)*) => {$(
        impl $enum {
            /// In lower case, without the name of the enum.
            pub fn word(self) -> String {
                self.as_str_name().trim_start_matches($prefix).to_lowercase()
            }
        }
    )*};
}

words! {
    DecisionStage, "DECISION_STAGE_";
    Outcome, "OUTCOME_";
    SourceState, "SOURCE_STATE_";
    Vantage, "VANTAGE_";
    VerdictState, "VERDICT_STATE_";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_short() {
        assert_eq!(DecisionStage::NotInEffect.word(), "not_in_effect");
        assert_eq!(Outcome::ServerError.word(), "server_error");
        assert_eq!(Vantage::Gateway.word(), "gateway");
        assert_eq!(VerdictState::Healthy.word(), "healthy");
    }
}
