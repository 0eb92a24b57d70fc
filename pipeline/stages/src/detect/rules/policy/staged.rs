//! `policy.staged-would-deny` and `policy.staged-would-allow`: what committing a staged policy would change.
//!
//! The pending trace is what decides if staged policies are enforced. A flow whose verdict would be another one is told of
//! the staged policy that makes the difference: the one that decides, or that makes its tier end. The finding is about the
//! policy and names the pairs; it is over when every one of them has been seen without the difference.

use catchment_core::{Counters, FindingKind, FlowRow, Resolution, Subject};
use catchment_schemas::goldmane::Reporter;

use crate::detect::facts::{Facts, Talk, has_packets};
use crate::detect::parts::{Part, PartKey, Parts, is_plain, listed, named};
use crate::detect::preview::{Preview, preview};
use crate::detect::rule::{Case, Rule, Story, Told};
use crate::detect::sightings::Sightings;
use crate::detect::story::{count, hit};
use crate::detect::view::View;

#[derive(Default)]
pub(crate) struct Staged {
    pairs: Parts,
}

impl Rule for Staged {
    fn kinds(&self) -> &'static [FindingKind] {
        &[FindingKind::StagedWouldDeny, FindingKind::StagedWouldAllow]
    }

    fn case(&self, key: &Facts<'_>) -> Option<Case> {
        let (kind, subject, _) = change(key)?;
        Some(Case::new(kind, subject).only_wakes())
    }

    fn refutes(&self) -> bool {
        true
    }

    fn talk(&mut self, talk: &Talk<'_>, out: &mut Sightings) {
        for reporter in [Reporter::Src, Reporter::Dst] {
            self.side(talk, reporter, out);
        }
    }

    fn close(&mut self, view: &View<'_>, _: &mut Sightings) {
        self.pairs.age(view.window.end);
    }

    fn story(&self, told: &Told<'_>) -> Story {
        let pairs = self.pairs.of(told.kind, told.subject);
        let mut story = if told.kind == FindingKind::StagedWouldDeny {
            would_deny(told, &pairs)
        } else {
            would_allow(told, &pairs)
        };
        story.verify = told.why();
        story.impact.insert("pairs".to_owned(), pairs.len().into());
        story.evidence.insert("pairs".to_owned(), listed(&pairs));
        story
    }

    fn save(&self) -> Option<Vec<u8>> {
        Some(self.pairs.save())
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), String> {
        self.pairs = Parts::restored(saved)?;
        Ok(())
    }
}

impl Staged {
    /// What one reporter shows of a pair.
    fn side(&mut self, talk: &Talk<'_>, reporter: Reporter, out: &mut Sightings) {
        let of_reporter = || talk.flows.iter().filter(|row| row.key.key.reporter == reporter as i32);
        let key = PartKey::of(talk, reporter);
        let mut changing = Vec::new();
        for row in of_reporter().filter(|row| has_packets(row)) {
            let facts = Facts::new(row, talk.view);
            let Some((kind, subject, preview)) = change(&facts) else { continue };
            let tell = || (talk.title(), hit(preview.hit));
            self.pairs.show((kind, &subject), key, &counted(row), talk.view.window.end, tell);
            let case = Case::new(kind, subject.clone()).owner(facts.governed().who.owner.as_deref());
            out.holds(case).flow(row);
            changing.push((kind, subject));
        }
        if of_reporter().any(is_plain) {
            for (kind, subject) in self.pairs.refute(key, &changing) {
                out.over(kind, &subject, Resolution::Fixed);
            }
        }
    }
}

/// What a staged policy would change for a key, as kind and subject.
fn change<'a>(key: &Facts<'a>) -> Option<(FindingKind, Subject, Preview<'a>)> {
    let preview = preview(key.key)?;
    let policy = preview.staged?.display()?;
    let kind = if preview.denies() { FindingKind::StagedWouldDeny } else { FindingKind::StagedWouldAllow };
    Some((kind, Subject::default().with("policy", Some(&policy)), preview))
}

/// In the window of an edit every trace comes with the full counters: none of them is to be added up.
fn counted(row: &FlowRow) -> Counters {
    if row.trace_split { Counters::default() } else { row.counters }
}

fn would_deny(told: &Told<'_>, pairs: &[&Part]) -> Story {
    let policy = told.member("policy");
    Story {
        title: format!("Staged policy {policy} would deny {} allowed now", count(pairs.len() as u64, "pair")),
        explanation: format!(
            "If {policy} were enforced as it is staged, it would deny traffic that is allowed now: {}. {} and {} of the \
             window would be lost. {}The likely cause is a peer or port that the staged rules leave out, or traffic \
             that nobody expected; the evidence has every pair with the step that would deny it.",
            named(pairs),
            count(told.tally.started, "new connection"),
            count(told.tally.packets, "packet"),
            step(pairs),
        ),
        remediation: format!(
            "Before committing {policy}, add a rule for each pair that is meant to go on, or take the policy back. Pairs \
             that are not meant to go on need nothing: committing it ends them."
        ),
        ..Story::default()
    }
}

fn would_allow(told: &Told<'_>, pairs: &[&Part]) -> Story {
    let policy = told.member("policy");
    Story {
        title: format!("Staged policy {policy} would allow {} denied now", count(pairs.len() as u64, "pair")),
        explanation: format!(
            "If {policy} were enforced as it is staged, it would let through traffic that is denied now: {}. {} of the \
             window were dropped. {}That is what the policy is for if these pairs are wanted; if not, its rules are too \
             wide.",
            named(pairs),
            count(told.tally.packets, "packet"),
            step(pairs),
        ),
        remediation: format!(
            "Commit {policy} if all pairs in the evidence are wanted; else narrow the rule that would allow them first."
        ),
        ..Story::default()
    }
}

/// The step that would decide for the first pair.
fn step(pairs: &[&Part]) -> String {
    pairs.first().map(|pair| format!("For the first of them this would decide: {}. ", pair.why)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use catchment_core::{FindingKind, FindingRow, Severity, Status};

    use crate::detect::testing::{Flow, HitExt, Scene, end_of_tier, flow, profile, rule, staged};

    fn would_be_denied() -> Flow {
        flow("shop/web-7d4b9c6f5-*", "shop/db:5432").dst().trace([profile("shop")]).pending([end_of_tier(
            "default",
            "shop/db-staged",
        )
        .after_staged()])
    }

    fn told(rows: &[FindingRow]) -> Vec<(FindingKind, Status, String)> {
        let of_staged = rows.iter().filter(|row| row.kind.name().starts_with("policy.staged"));
        of_staged.map(|row| (row.kind, row.status, row.subject.to_json().to_string())).collect()
    }

    fn denies(status: Status) -> Vec<(FindingKind, Status, String)> {
        vec![(FindingKind::StagedWouldDeny, status, r#"{"policy":"shop/db-staged"}"#.to_owned())]
    }

    #[test]
    fn the_end_of_a_tier_that_a_staged_policy_makes_is_told_of_that_policy() {
        let mut scene = Scene::new();
        let rows = scene.window([would_be_denied()]);
        assert_eq!(told(&rows), denies(Status::Opened));
        let row = rows.iter().find(|row| row.kind == FindingKind::StagedWouldDeny).expect("told");
        assert_eq!(row.severity, Severity::Low);
        let evidence: serde_json::Value = serde_json::from_str(&row.evidence).expect("evidence is JSON");
        assert_eq!(evidence["pairs"][0]["pair"], "shop/web -> shop/db:5432/tcp");
        assert_eq!(evidence["pairs"][0]["by"], "end of tier default after shop/db-staged: Deny");
        assert_eq!(evidence["pairs"][0]["packets"], 20);
        assert_eq!(row.verify, "catchment why 'shop/web-7d4b9c6f5-*' 'shop/db:5432/tcp'");
    }

    #[test]
    fn all_pairs_of_a_policy_are_one_finding_and_a_rollout_is_no_other_pair() {
        let mut scene = Scene::new();
        let other = flow("shop/job", "shop/db:5432").dst().trace([profile("shop")]).pending([staged(
            "shop/db-staged",
            "default",
            2,
        )
        .denies()]);
        let rows = scene.window([would_be_denied(), other]);
        assert_eq!(told(&rows), denies(Status::Opened));
        assert!(rows[0].impact.contains("\"pairs\":2") || rows[1].impact.contains("\"pairs\":2"));
        let rolled = would_be_denied().named("shop/web-6c8b7d5f9-*");

        scene.window([rolled.clone()]);
        let more = scene.window([rolled.packets(100_000, 0).connections(1000, 0, 0)]);
        let row = more.iter().find(|row| row.kind == FindingKind::StagedWouldDeny).expect("it has grown");
        assert!(row.impact.contains("\"pairs\":2"), "{}", row.impact);
    }

    #[test]
    fn a_staged_policy_that_would_let_denied_traffic_through_is_told() {
        let denied = flow("shop/web", "shop/db:5432").dst().deny().trace([end_of_tier("default", "shop/db")]);
        let pending = denied.pending([staged("shop/db-staged", "default", 0)]).packets(3, 0);
        let mut scene = Scene::new();
        let kinds: Vec<_> = told(&scene.window([pending.clone()])).into_iter().map(|(kind, ..)| kind).collect();
        assert_eq!(kinds, [FindingKind::StagedWouldAllow]);
        let mut scene = Scene::new();
        assert_eq!(told(&scene.window([pending.packets(0, 0)])), [], "a denial without packets is no evidence");
    }

    #[test]
    fn a_staged_policy_that_changes_nothing_or_has_no_part_in_it_is_not_told() {
        let same = flow("shop/web", "shop/db:5432").dst().trace([rule("shop/db", "default", 0)]).pending([staged(
            "shop/db-staged",
            "default",
            0,
        )]);
        let replaced = flow("shop/job", "shop/db:5432")
            .dst()
            .trace([rule("shop/db", "default", 0)])
            .pending([end_of_tier("default", "shop/db")]);
        assert_eq!(told(&Scene::new().window([same, replaced])), []);
    }

    #[test]
    fn a_staged_policy_that_passes_makes_the_difference_by_what_comes_behind_it() {
        let passed = flow("shop/web", "shop/db:5432").dst().deny().trace([end_of_tier("default", "shop/db")]);
        let pending = [staged("shop/db-staged", "default", 0).pass(), profile("shop")];
        let rows = Scene::new().window([passed.pending(pending)]);
        assert_eq!(told(&rows)[0].0, FindingKind::StagedWouldAllow);
    }

    #[test]
    fn it_is_over_once_every_pair_was_seen_without_the_difference_even_after_a_restart() {
        let committed = |source: &str| flow(source, "shop/db:5432").dst().trace([rule("shop/db", "default", 0)]);
        let mut scene = Scene::new();
        scene.window([would_be_denied(), would_be_denied().named("shop/job")]);
        assert_eq!(told(&scene.window([committed("shop/web-7d4b9c6f5-*")])), []);
        scene.restart();
        let silent = committed("shop/job").packets(0, 0);
        assert_eq!(told(&scene.window([silent])), [], "what carries nothing shows nothing");
        assert_eq!(told(&scene.window([committed("shop/job")])), denies(Status::Resolved));
    }

    #[test]
    fn the_window_of_an_edit_adds_no_counters_and_ends_nothing() {
        let mut scene = Scene::new();
        scene.window([would_be_denied()]);
        let edited = flow("shop/web-7d4b9c6f5-*", "shop/db:5432").dst().trace([rule("shop/db", "default", 0)]).split();
        assert_eq!(told(&scene.window([edited])), []);
    }
}
