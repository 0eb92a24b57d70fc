//! `health.key-overflow`: a window held more keys than the limits, and some rows gave up who talked.

use catchment_core::{FindingKind, Subject};

use crate::detect::facts::Facts;
use crate::detect::rule::{Case, Rule, Story, Told};
use crate::detect::story::{bytes, count};

pub(crate) struct KeyOverflow;

impl Rule for KeyOverflow {
    fn kinds(&self) -> &'static [FindingKind] {
        &[FindingKind::KeyOverflow]
    }

    fn case(&self, key: &Facts<'_>) -> Option<Case> {
        let subject = Subject::default().with("limit", Some("keys"));
        key.key.is_overflow().then(|| Case::new(FindingKind::KeyOverflow, subject))
    }

    fn story(&self, told: &Told<'_>) -> Story {
        Story {
            title: "More flow keys than the limits".to_owned(),
            explanation: format!(
                "A window held more distinct flows than `limits` allows. The rest was counted in rows named (overflow): \
                 {} and {} whose ends are not told apart, and in which nothing else is found.",
                count(told.tally.packets, "packet"),
                bytes(told.tally.bytes),
            ),
            remediation: "Raise `limits.max_keys` and `limits.max_bytes`, or look for who opens so many: a scan, or \
                          workloads with a label per pod."
                .to_owned(),
            verify: "catchment findings list --kind health.key-overflow".to_owned(),
            ..Story::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use catchment_core::{FindingKind, Status};

    use crate::detect::testing::{Scene, flow};

    #[test]
    fn rows_that_gave_up_their_identity_are_told() {
        let mut scene = Scene::new();
        let told = scene.window([flow("(overflow)", "(overflow):0").overflow()]);
        assert_eq!((told[0].kind, told[0].status), (FindingKind::KeyOverflow, Status::Opened));
    }
}
