//! Policies that select endpoints, and what they say of a connection, on one core.

#![allow(clippy::print_stdout, reason = "tables are what this program is for")]

use catchment_benches::cluster::{pod, pods, policies, policy};
use catchment_benches::measure::{Times, pair, report};
use catchment_core::knowledge::policy::Protocol;
use catchment_stages::policy::{Compiled, Connection, Endpoint, EndpointIndex, PolicySet, Surroundings, explain};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 5;

/// The reference looks at every policy for every pod; for a share of the pods, that is enough.
const SHARE: u32 = 100;

fn main() {
    let (pods, policies) = (pods(), policies());
    let scan = || assert!(scan(&policies, &pods[..pods.len() / SHARE as usize]) > 0);
    let (reference, ours) = pair(ROUNDS, scan, || assert_eq!(selections(&policies, &pods), expected(&policies, &pods)));
    let reference = Times { least: reference.least * SHARE, median: reference.median * SHARE };
    report("1,000 policies over 20,000 pods", pods.len(), ours, reference, 20_000.0);

    let mut set = set_of(&policies);
    let mut index = EndpointIndex::default();
    for pod in &pods {
        index.set(&pod.title(), pod.clone());
    }
    updates(&mut set, &mut index, &pods);
    explanations(&set, &pods);
}

fn set_of(policies: &[Compiled]) -> PolicySet {
    let mut set = PolicySet::default();
    for policy in policies {
        set.set_policy(policy.clone());
    }
    set
}

/// Everything from compiled policies and pods to what selects each pod.
fn selections(policies: &[Compiled], pods: &[Endpoint]) -> usize {
    let set = set_of(policies);
    pods.iter().map(|pod| set.selecting(pod).len()).sum()
}

/// The same without an index.
fn scan(policies: &[Compiled], pods: &[Endpoint]) -> usize {
    let selecting = |pod: &Endpoint| policies.iter().filter(|policy| policy.selector.matches(&pod.labels)).count();
    pods.iter().map(selecting).sum()
}

/// How many selections there are; counted once.
fn expected(policies: &[Compiled], pods: &[Endpoint]) -> usize {
    static COUNT: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *COUNT.get_or_init(|| scan(policies, pods))
}

/// A pod or a policy changes, and what it selects or is selected by is asked at once.
fn updates(set: &mut PolicySet, index: &mut EndpointIndex, pods: &[Endpoint]) {
    const CHANGES: usize = 1_000;
    let copy = |count: usize| assert_eq!(pods[..count].to_vec().len(), count);
    let mut turn = 0;
    let mut number = |bound: usize| {
        turn += 7919;
        turn % bound
    };
    let (reference, ours) = pair(
        ROUNDS,
        || copy(CHANGES),
        || {
            for _ in 0..CHANGES {
                let changed = pod(number(100), number(20), number(10));
                let found = set.selecting(&changed).len();
                index.set(&changed.title(), changed);
                assert!(found > 0);
            }
        },
    );
    report("a pod changes", CHANGES, ours, reference, 1_000.0);
    let (reference, ours) = pair(
        ROUNDS,
        || copy(CHANGES),
        || {
            for _ in 0..CHANGES {
                let changed = policy(number(100), number(10));
                let found = index.matching(&changed.selector).len();
                set.set_policy(changed);
                assert!(found > 0);
            }
        },
    );
    report("a policy changes", CHANGES, ours, reference, 1_000.0);
}

/// Whole explanations, near misses included.
fn explanations(set: &PolicySet, pods: &[Endpoint]) {
    const QUESTIONS: usize = 1_000;
    let surroundings = Surroundings::default();
    let pairs: Vec<_> = (0..QUESTIONS).map(|n| (&pods[n * 13 % pods.len()], &pods[n * 17 % pods.len()])).collect();
    let connection = Connection::new(Protocol::TCP, 8080);
    let ask = || {
        for (source, destination) in &pairs {
            assert_eq!(explain(set, &surroundings, source, destination, &connection).port, Some(8080));
        }
    };
    let select = || pairs.iter().for_each(|(_, destination)| assert!(!set.selecting(destination).is_empty()));
    let (reference, ours) = pair(ROUNDS, select, ask);
    report("a connection is explained", QUESTIONS, ours, reference, 1_000.0);
}
