//! The policy model against an evaluator that shares no code with it and knows no index, no conversion and no selectors
//! in text: 10,000 random clusters.

#![allow(clippy::unwrap_used, reason = "every module here is part of a test")]

mod draw;
mod judge;
mod world;

use catchment_stages::policy::{
    Chain, Connection, Decision, Direction, Endpoint, EndpointIndex, Explanation, PolicySet, Verdict, explain,
};
use draw::Dice;
use judge::{Outcome, Side};
use world::{End, Policy, World};

const CLUSTERS: u64 = 10_000;

/// `CATCHMENT_POLICY_SEED=n` runs one cluster only.
#[test]
fn ten_thousand_random_clusters_are_judged_as_by_the_naive_evaluator() {
    let one = std::env::var("CATCHMENT_POLICY_SEED").ok().map(|seed| seed.parse::<u64>().expect("a seed is a number"));
    let seeds = one.map_or(0..CLUSTERS, |seed| seed..seed + 1);
    let mut seen = Seen::default();
    for seed in seeds {
        let mut dice = Dice::new(seed);
        let world = dice.world();
        let policies = world.policy_set();
        for _ in 0..2 {
            let traffic = dice.traffic(&world);
            compare(seed, &world, &policies, &traffic, &mut seen);
        }
    }
    if one.is_none() {
        seen.everything();
    }
}

/// Policies come, change and go; the set answers as one that never knew anything else.
#[test]
fn a_set_that_was_changed_answers_as_a_new_one() {
    let mut found = 0;
    for seed in 0..500 {
        let mut dice = Dice::new(seed);
        let (old, new) = (dice.world(), dice.world());
        let mut changed = old.policy_set();
        new.policies.iter().for_each(|policy| changed.set_policy(policy.compiled()));
        for policy in old.policies.iter().filter(|policy| new.policies.iter().all(|other| other.id() != policy.id())) {
            assert!(changed.remove_policy(&policy.id()), "{}", policy.id());
            assert!(!changed.remove_policy(&policy.id()));
        }
        let fresh = new.policy_set();
        for pod in 0..new.pods.len() {
            let endpoint = new.endpoint(&End::Pod(pod));
            let all = |set: &PolicySet| -> Vec<String> {
                set.selecting(&endpoint)
                    .into_iter()
                    .map(|policy| format!("{} {}", policy.id, policy.selector))
                    .collect()
            };
            assert_eq!(all(&changed), all(&fresh), "seed {seed}");
            found += all(&fresh).len();
        }
    }
    assert!(found > 1_000, "{found} selections prove little");
}

/// The endpoints that a selector matches are those it matches one by one, whatever came and went before.
#[test]
fn an_index_of_endpoints_finds_all_that_a_selector_matches() {
    let mut found = 0;
    for seed in 0..500 {
        let mut dice = Dice::new(seed);
        let (old, new) = (dice.world(), dice.world());
        let mut index = EndpointIndex::default();
        for world in [&old, &new] {
            (0..6).for_each(|pod| index.set(&format!("pod-{pod}"), world.endpoint(&End::Pod(pod))));
        }
        index.remove("pod-5");
        assert_eq!((index.get("pod-5"), index.iter().count()), (None, 5));
        for policy in new.policy_set().policies() {
            let mut matching: Vec<_> = index.matching(&policy.selector).iter().map(|end| end.name.clone()).collect();
            matching.sort();
            let one_by_one = (0..5).map(|pod| new.endpoint(&End::Pod(pod)));
            let one_by_one = one_by_one.filter(|end| policy.selector.matches(&end.labels)).map(|end| end.name);
            assert_eq!(matching, one_by_one.collect::<Vec<_>>(), "seed {seed}, {}", policy.selector);
            found += matching.len();
        }
    }
    assert!(found > 1_000, "{found} matches prove little");
}

/// What the random clusters have met: a comparison of nothing but allowed traffic would prove little.
#[derive(Default, Debug)]
struct Seen {
    allowed: u32,
    denied: u32,
    unknown: u32,
    by_rule: u32,
    by_kubernetes: u32,
    by_cluster_policy: u32,
    by_end_of_tier: u32,
    by_profile: u32,
    staged_changes: u32,
    pending_differs: u32,
}

impl Seen {
    fn chain(&mut self, chain: &Chain) {
        *match chain.verdict {
            Verdict::Allow => &mut self.allowed,
            Verdict::Deny => &mut self.denied,
            Verdict::Unknown => &mut self.unknown,
        } += 1;
        match &chain.decided_by {
            Decision::Rule(rule) if rule.origin.contains("from[") || rule.origin.contains("to[") => {
                let cluster = rule.policy.namespace.is_empty();
                *(if cluster { &mut self.by_cluster_policy } else { &mut self.by_kubernetes }) += 1;
            }
            Decision::Rule(_) => self.by_rule += 1,
            Decision::EndOfTier { .. } => self.by_end_of_tier += 1,
            _ => self.by_profile += 1,
        }
        self.staged_changes += u32::from(chain.staged.iter().any(|effect| effect.changes));
        self.pending_differs +=
            u32::from(chain.pending.as_ref().is_some_and(|pending| pending.verdict != chain.verdict));
    }

    fn everything(&self) {
        let counts = [
            self.allowed,
            self.denied,
            self.unknown,
            self.by_rule,
            self.by_kubernetes,
            self.by_cluster_policy,
            self.by_end_of_tier,
            self.by_profile,
            self.staged_changes,
            self.pending_differs,
        ];
        assert!(counts.iter().all(|count| *count >= 100), "too little of something: {self:?}");
    }
}

/// A connection between two ends of a world.
#[derive(Debug)]
struct Traffic {
    source: End,
    destination: End,
    connection: Connection,
}

fn compare(seed: u64, world: &World, policies: &PolicySet, traffic: &Traffic, met: &mut Seen) {
    let ends: [Endpoint; 2] = [world.endpoint(&traffic.source), world.endpoint(&traffic.destination)];
    let found: Explanation = explain(policies, &world.surroundings(), &ends[0], &ends[1], &traffic.connection);
    for (chain, direction) in [(&found.egress, Direction::Egress), (&found.ingress, Direction::Ingress)] {
        let side = Side { world, traffic, direction };
        let enforced: Vec<&Policy> = world.policies.iter().filter(|policy| policy.staged.is_none()).collect();
        let context = || format!("seed {seed}, {direction:?} of {traffic:?}: {chain:#?}\n{world:#?}");
        let outcome = side.outcome(&enforced, false);
        assert_eq!(chain.verdict, outcome.verdict, "verdict, {}", context());
        assert!(same_decision(&side, &chain.decided_by, &outcome), "decided by {outcome:?}, {}", context());
        for effect in &chain.staged {
            let committed = world.committed(&effect.policy);
            assert_eq!(
                effect.preview.verdict,
                side.outcome(&committed, false).verdict,
                "{}, {}",
                effect.policy,
                context()
            );
            assert_eq!(effect.changes, effect.preview.verdict != chain.verdict);
        }
        let touching = world.policies.iter().filter(|policy| side.touched_by(policy)).count();
        assert_eq!(chain.staged.len(), touching, "staged policies, {}", context());
        if let Some(pending) = &chain.pending {
            let pended: Vec<&Policy> = world.policies.iter().filter(|policy| policy.pending()).collect();
            let outcome = side.outcome(&pended, true);
            assert_eq!(pending.verdict, outcome.verdict, "pending, {}", context());
            assert!(same_decision(&side, &pending.decided_by, &outcome), "pending by {outcome:?}, {}", context());
        }
        met.chain(chain);
    }
}

/// The naive evaluator does not number the rules of converted policies: it is asked whether the place is right instead.
fn same_decision(side: &Side<'_>, found: &Decision, outcome: &Outcome) -> bool {
    match (found, &outcome.by) {
        (Decision::Rule(rule), judge::By::Rule(policy, place)) => {
            rule.policy == policy.id() && side.is_first_place(policy, &rule.origin, place)
        }
        (Decision::EndOfTier { tier, trigger }, judge::By::EndOfTier(policy)) => {
            *tier == policy.tier && *trigger == policy.id()
        }
        (Decision::Profile { .. } | Decision::NoProfile | Decision::NotGoverned, judge::By::Nothing) => true,
        _ => false,
    }
}
