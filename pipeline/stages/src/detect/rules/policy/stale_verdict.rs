//! `policy.stale-verdict`: an established connection lives on by a rule that has been replaced.
//!
//! What is judged anew on a connection that lives is the pending trace, not the enforced one. Without any staged policy the
//! two part only when policies were edited behind the connection: the edit has not taken effect for it. That is worse where
//! a new connection would be denied than where another policy would let it in.

use catchment_core::{FindingKind, FlowRow, Resolution, Severity};
use catchment_schemas::goldmane::{Action, Reporter};

use crate::detect::facts::{Facts, Talk};
use crate::detect::parts::is_plain;
use crate::detect::preview::{is_denied_now, replaced};
use crate::detect::rule::{Case, Rule, Story, Told};
use crate::detect::sightings::Sightings;
use crate::detect::story::{chain, count, hit};

pub(crate) struct StaleVerdict;

impl Rule for StaleVerdict {
    fn kinds(&self) -> &'static [FindingKind] {
        &[FindingKind::StaleVerdict]
    }

    fn case(&self, key: &Facts<'_>) -> Option<Case> {
        replaced(key.key).map(|_| Case::new(FindingKind::StaleVerdict, key.pair()).only_wakes())
    }

    fn refutes(&self) -> bool {
        true
    }

    fn talk(&mut self, talk: &Talk<'_>, out: &mut Sightings) {
        let (kind, subject) = (FindingKind::StaleVerdict, talk.subject());
        let kept: Vec<_> = talk.flows.iter().filter(|row| is_kept(row)).collect();
        if !kept.is_empty() {
            let severity =
                if kept.iter().any(|row| is_denied_now(&row.key)) { Severity::Medium } else { Severity::Low };
            let case = Case::new(kind, subject).severity(severity);
            out.holds(case.owner(talk.dest().who.owner.as_deref())).flows(kept);
        } else if judged_as_new(talk) {
            out.over(kind, &subject, Resolution::Fixed);
        }
    }

    fn story(&self, told: &Told<'_>) -> Story {
        let (source, dest, port) = (told.end("source"), told.end("dest"), told.port());
        let keys = || told.tally.sample.iter().map(|(key, _)| key);
        let worst = keys().find(|key| is_denied_now(key)).or_else(|| keys().find(|key| replaced(key).is_some()));
        let traces = worst.and_then(|key| Some((key, replaced(key)?))).map(|(key, now)| {
            format!("It was let in by: {}. Judged anew it would meet: {}. ", chain(&key.key.trace.enforced), hit(now))
        });
        let (title, now, remediation) = if worst.is_none_or(|key| is_denied_now(key)) {
            (
                "policies would deny now",
                "a new one would be denied",
                format!(
                    "If the pair is to be cut off, restart the pods of {source} or let them connect anew; if it is to go \
                     on, add an allow rule before it does: with its next connection it breaks."
                ),
            )
        } else {
            (
                "another policy would let in now",
                "another policy would let in a new one",
                "Nothing breaks. Look whether the policy that would decide now is the one that is meant to.".to_owned(),
            )
        };
        Story {
            title: format!("{source} keeps connections to {dest} on {port} that {title}"),
            explanation: format!(
                "{} from {source} to {dest} on {port} were established before the policies were edited and live on by the \
                 rule of that time; {now}. {}An edit does not cut what is established, so the traffic goes on until \
                 either side closes it: {} in the window.",
                count(told.tally.live, "connection"),
                traces.unwrap_or_default(),
                count(told.tally.packets, "packet"),
            ),
            remediation,
            verify: told.why(),
            ..Story::default()
        }
    }
}

/// Whether connections of a row live on that were not made in its window. In the window of an edit connections that end
/// before it are reported with the pending trace of later.
fn is_kept(row: &FlowRow) -> bool {
    let counters = &row.counters;
    let lives = counters.started == 0 && counters.live > counters.completed && !row.trace_split;
    lives && replaced(&row.key).is_some()
}

/// Whether traffic was let through by what decides for new connections too.
fn judged_as_new(talk: &Talk<'_>) -> bool {
    let mut allowed = [Reporter::Src, Reporter::Dst].into_iter().flat_map(|side| talk.rows(side, Action::Allow));
    let any = talk.flows.iter().any(is_plain);
    any && allowed.all(|row| replaced(&row.key).is_none())
}

#[cfg(test)]
mod tests {
    use catchment_core::{FindingKind, FindingRow, Severity, Status};

    use crate::detect::testing::{Flow, HitExt, Scene, end_of_tier, flow, profile, rule};

    fn kept() -> Flow {
        flow("shop/web", "shop/db:5432")
            .dst()
            .trace([rule("shop/db", "default", 0)])
            .pending([end_of_tier("default", "shop/db")])
            .connections(0, 0, 2)
    }

    fn told(rows: &[FindingRow]) -> Vec<(Status, Severity)> {
        let stale = rows.iter().filter(|row| row.kind == FindingKind::StaleVerdict);
        stale.map(|row| (row.status, row.severity)).collect()
    }

    #[test]
    fn a_connection_that_lives_by_a_replaced_rule_is_told_of_its_pair() {
        let rows = Scene::new().window([kept()]);
        assert_eq!(told(&rows), [(Status::Opened, Severity::Medium)]);
        let subject = rows[0].subject.to_json();
        assert_eq!((&subject["source"], &subject["dest_port"]), (&"web".into(), &5432.into()));
        assert!(rows[0].explanation.contains("end of tier default after shop/db: Deny"), "{}", rows[0].explanation);
    }

    #[test]
    fn a_connection_that_another_policy_would_let_in_is_less_bad_and_another_rule_of_the_same_is_none() {
        let by = |policy: &str, place| kept().pending([rule(policy, "default", place)]);
        let rows = Scene::new().window([by("shop/web-to-db", 0)]);
        assert_eq!(told(&rows), [(Status::Opened, Severity::Low)]);
        assert!(rows[0].title.ends_with("that another policy would let in now"), "{}", rows[0].title);
        assert_eq!(told(&Scene::new().window([by("shop/db", 1)])), []);
        assert_eq!(told(&Scene::new().window([kept().pending([profile("shop")])])), []);
    }

    #[test]
    fn an_idle_connection_is_kept_too() {
        assert_eq!(told(&Scene::new().window([kept().packets(0, 0)])), [(Status::Opened, Severity::Medium)]);
    }

    #[test]
    fn connections_that_ended_around_the_edit_are_none() {
        let mut scene = Scene::new();
        assert_eq!(told(&scene.window([kept().connections(3, 3, 3)])), []);
        assert_eq!(told(&scene.window([kept().connections(0, 2, 2)])), []);
        assert_eq!(told(&scene.window([kept().split()])), []);
    }

    #[test]
    fn a_difference_that_a_staged_policy_makes_is_another_kind() {
        let staged = kept().pending([end_of_tier("default", "shop/db-staged").after_staged()]);
        assert_eq!(told(&Scene::new().window([staged])), []);
    }

    #[test]
    fn a_denial_that_would_be_let_through_is_no_connection() {
        let denied = flow("shop/web", "shop/db:5432").dst().deny().trace([end_of_tier("default", "shop/db")]);
        let denied = denied.pending([rule("shop/db", "default", 0)]).connections(0, 0, 1);
        assert_eq!(told(&Scene::new().window([denied])), []);
    }

    #[test]
    fn it_is_over_when_the_pair_is_let_through_by_what_decides_for_new_connections() {
        let mut scene = Scene::new();
        scene.window([kept()]);
        let both = [kept(), flow("shop/web", "shop/db:5432").trace([rule("shop/out", "default", 0)])];
        assert_eq!(told(&scene.window(both)), []);
        scene.restart();
        let anew = flow("shop/web", "shop/db:5432").dst().trace([rule("shop/db", "default", 1)]);
        assert_eq!(told(&scene.window([anew])), [(Status::Resolved, Severity::Medium)]);
    }

    #[test]
    fn it_is_over_when_new_connections_are_denied_and_the_old_ones_are_gone() {
        let mut scene = Scene::new();
        scene.window([kept()]);
        let denied = flow("shop/web", "shop/db:5432").dst().deny().trace([end_of_tier("default", "shop/db")]);
        assert_eq!(told(&scene.window([denied])), [(Status::Resolved, Severity::Medium)]);
    }
}
