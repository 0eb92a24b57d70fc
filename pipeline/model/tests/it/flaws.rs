//! Every broken rule is noticed, by the invariant that speaks of it, and soon.

use catchment_model::invariants::Invariant;
use catchment_model::schedule::{Plan, explain, run};
use catchment_model::{Flaw, Flaws};

/// Runs schedules until `invariant` fails; returns the seed and what was found.
fn caught(flaw: &'static [Flaw], invariant: Invariant, blind_to: Option<Invariant>, within: u64) -> (Plan, String) {
    let plans = (0..within).map(|seed| Plan { blind_to, ..Plan::new(seed, Flaws(flaw)) });
    let found = plans.filter_map(|plan| Some((plan, run(&plan).violation?))).find(|(_, v)| v.invariant == invariant);
    let (plan, violation) = found.unwrap_or_else(|| panic!("{flaw:?} broke no {invariant:?} within {within} seeds"));
    (plan, violation.detail)
}

/// A test per flaw: the invariant that notices it, and within how many seeds.
macro_rules! flaws_are_caught {
    ($($name:ident: $flaw:ident by $invariant:ident within $within:literal;)*) => {
        const CAUGHT: &[Flaw] = &[Flaw::NewestMarkDropped, $(Flaw::$flaw),*];

        $(#[test]
        fn $name() {
            let (plan, detail) = caught(&[Flaw::$flaw], Invariant::$invariant, None, $within);
            println!("seed {}: {detail}", plan.seed);
        })*
    };
}

flaws_are_caught! {
    half_an_append_is_counted_again: TornAppendKept by NothingLost within 200;
    flows_without_their_mark_are_read_again: ProgressApart by NothingLost within 50;
    what_a_crash_takes_was_published: ReadBeforeSync by ReplayEqual within 50;
    a_look_logged_whole_counts_twice: LookLoggedWhole by NothingLost within 100;
    what_was_forgotten_is_nowhere: ForgottenUnsaid by NothingLost within 50;
    a_look_without_comparison_loses_late_flows: LossSettledSilently by NothingLost within 600;
    a_restart_drops_what_a_source_looks_back_on: LookBackForgotten by LogKept within 100;
    a_log_full_of_look_back_stands_still: LookBackFillsTheLog by Drains within 100;
    the_slow_sink_finds_nothing_to_read: SlowSinkIgnored by LogKept within 50;
    gathered_rows_are_lost_in_a_crash: GatheredCountsAsWritten by LogKept within 50;
    a_floor_behind_open_windows_cuts_them: FloorIsCommitted by ReplayEqual within 50;
    the_second_window_of_a_mark_comes_out_wrong: LastFloorForEveryPart by CursorBehindData within 100;
    a_row_that_looks_back_finds_nothing: WindowBeforeNotKept by ReplayEqual within 50;
    lateness_is_forgotten_at_a_restart: WatermarkNotRestored by ReplayEqual within 50;
    a_closed_window_opens_again_behind_a_mark: WatermarkBehindFloor by ReplayEqual within 50;
    lateness_depends_on_the_workers: LatenessByWorkersTime by ReplayEqual within 20;
    side_rows_come_again_after_a_restart: SideRowsCarriedOver by ReplayEqual within 50;
    rows_of_another_log_get_in_among_those_that_stand: AnyLogTaken by ReplayEqual within 200;
    the_committed_epoch_comes_again: SuppressBelow by NothingTwice within 50;
    a_commit_between_reading_and_fencing_comes_again: CursorReadBeforeFence by NothingTwice within 100;
    a_cursor_of_its_own_runs_ahead: CursorBeforeRows by CursorBehindData within 20;
    nobody_is_fenced: TransactionalIdPerProcess by ZombieSilent within 50;
    an_unanswered_commit_stands_twice: UnknownCommitRepeated by NothingTwice within 100;
    standing_chunks_are_sent_again: PartialIgnored by NothingTwice within 50;
    an_idle_stream_keeps_the_log_full: IdleSlotNeverEnds by Drains within 600;
    a_swapped_cursor_has_no_objects: SwapBeforePut by CursorBehindData within 20;
    a_zombie_replaces_an_object: PutReplaces by ZombieSilent within 50;
    a_zombie_takes_the_cursor_back: SwapUnconditional by ZombieSilent within 50;
}

/// The newest mark is hardly ever in the way of a cut, unless nothing is kept to look back on.
#[test]
fn a_start_without_a_mark_skips_buckets_or_reads_them_again() {
    let flaws = &[Flaw::NewestMarkDropped, Flaw::LookBackForgotten];
    caught(flaws, Invariant::NothingLost, Some(Invariant::LogKept), 3000);
}

#[test]
fn every_flaw_has_a_test() {
    let without: Vec<_> = Flaw::ALL.iter().filter(|flaw| !CAUGHT.contains(flaw)).collect();
    assert!(without.is_empty(), "not caught by any test: {without:?}");
}

/// What the pipeline does today. The list empties as the mends come.
#[test]
fn the_open_flaws_together_are_noticed() {
    let breaks = |seed: &u64| run(&Plan::new(*seed, Flaws(Flaw::OPEN))).violation.is_some();
    assert!(Flaw::OPEN.is_empty() || (0..20).any(|seed| breaks(&seed)));
}

/// What a reader would see if no replay were compared: the reason why replays have to be equal.
#[test]
fn an_unequal_replay_reaches_the_readers() {
    let blind = Some(Invariant::ReplayEqual);
    caught(&[Flaw::FloorIsCommitted], Invariant::WholeWindows, blind, 100);
    caught(&[Flaw::WindowBeforeNotKept], Invariant::WholeWindows, blind, 100);
    caught(&[Flaw::WatermarkNotRestored], Invariant::WholeWindows, blind, 100);
    caught(&[Flaw::WatermarkBehindFloor], Invariant::SideRowsOnce, blind, 100);
    caught(&[Flaw::SideRowsCarriedOver], Invariant::SideRowsOnce, blind, 100);
}

#[test]
fn a_failure_is_told_step_by_step_and_the_same_every_time() {
    let (plan, detail) = caught(&[Flaw::PutReplaces], Invariant::ZombieSilent, None, 50);
    let account = explain(&plan);
    assert_eq!(account, explain(&plan));
    assert!(account.contains(&format!("seed {}", plan.seed)) && account.contains("goes on"), "{detail}: {account}");
}
