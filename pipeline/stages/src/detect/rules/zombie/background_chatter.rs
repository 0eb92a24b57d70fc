//! `zombie.background-chatter`: a little traffic, again and again, to a peer that never answers with data.
//!
//! Suspected. A pair is watched while every window that shows it is such a trickle; it is told when it has come often
//! enough and evenly. What keeps connections alive carries no data either and is none, and neither is traffic that nobody
//! answers by design. Rows of one packet a connection say nothing, because some data planes count no more of any.

use std::collections::HashMap;

use catchment_core::{EventTime, FindingKind, Period, Resolution};
use serde::{Deserialize, Serialize};

use super::super::asymmetry::no_response::is_one_way;
use crate::detect::facts::{Facts, Signs, Talk};
use crate::detect::rule::{Case, Rule, Story, Told};
use crate::detect::sightings::Sightings;
use crate::detect::story::{bytes, count};
use crate::detect::view::View;

/// Windows that must have shown it.
const OFTEN: u32 = 30;
/// Pairs that are watched at most, of 56 bytes each.
const MOST: usize = 20_000;
/// How much pauses may differ, in percent of the longest, beside two windows.
const UNEVEN: i64 = 25;
/// Watched pairs that have not shown for so long are forgotten.
const FORGOTTEN: Period = Period::secs(24 * 3600);

#[derive(Default)]
pub(crate) struct BackgroundChatter {
    beats: HashMap<u128, Beat>,
}

/// How evenly a pair has shown.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Beat {
    last: EventTime,
    /// The shortest and the longest time between two windows that showed it.
    pauses: [i64; 2],
}

impl Beat {
    fn first(now: EventTime) -> Self {
        Self { last: now, pauses: [i64::MAX, 0] }
    }

    fn again(&mut self, now: EventTime) {
        let pause = now.0 - self.last.0;
        if pause > 0 {
            self.pauses = [self.pauses[0].min(pause), self.pauses[1].max(pause)];
            self.last = now;
        }
    }

    fn is_even(&self, window: i64) -> bool {
        let [shortest, longest] = self.pauses;
        longest - shortest <= 2 * window + longest * UNEVEN / 100
    }
}

impl Rule for BackgroundChatter {
    fn kinds(&self) -> &'static [FindingKind] {
        &[FindingKind::BackgroundChatter]
    }

    fn listens(&self, key: &Facts<'_>) -> bool {
        let of = &key.key.key;
        let by_design = match &*of.protocol {
            "tcp" => false,
            "udp" => is_one_way(of.dest_port),
            _ => true,
        };
        let is_platform = |namespace| key.view.settings.is_platform(namespace);
        key.source.is_workload() && !by_design && !key.source.namespace().is_some_and(is_platform)
    }

    fn wakes(&self) -> Signs {
        Signs::TRICKLE
    }

    fn refutes(&self) -> bool {
        true
    }

    fn talk(&mut self, talk: &Talk<'_>, out: &mut Sightings) {
        let kind = FindingKind::BackgroundChatter;
        if !talk.signs.has(Signs::TRICKLE) {
            if talk.signs.has(Signs::REPLIED) {
                out.over(kind, &talk.subject(), Resolution::Fixed);
            }
            return;
        }
        if !talk.is_whole() {
            return out.not_evaluable(kind);
        }
        let (windows, now) = (talk.windows_in_a_row(Signs::TRICKLE), talk.view.window.end);
        let Some(beat) = self.beat(talk, windows, now) else { return out.not_evaluable(kind) };
        let is_even = beat.is_even(talk.view.window.micros());
        if windows < OFTEN || !is_even || talk.is_denied() || has_another_name(talk, out) {
            return;
        }
        let longest = beat.pauses[1] / 1_000_000;
        let case = Case::new(kind, talk.subject()).owner(talk.source().who.owner.as_deref());
        out.holds(case).flows(talk.flows).detail("windows", windows).detail("longest_pause_seconds", longest);
    }

    fn close(&mut self, view: &View<'_>, _: &mut Sightings) {
        let horizon = view.window.end.plus(-FORGOTTEN.micros());
        if self.beats.len() * 2 > MOST {
            self.beats.retain(|_, beat| beat.last >= horizon);
        }
    }

    fn story(&self, told: &Told<'_>) -> Story {
        let (source, dest, port) = (told.end("source"), told.end("dest"), told.port());
        let number = |name: &str| told.details.get(name).and_then(serde_json::Value::as_u64).unwrap_or_default();
        Story {
            title: format!("{source} sends a little to {dest} on {port} again and again, and gets no data back"),
            explanation: format!(
                "{source} has sent {dest} a few packets on {port} in {} in a row, with pauses of {} seconds at most, and \
                 never got data back; {} in the last. Suspected: a probe, an agent or a retry that nobody needs any \
                 more, or that was set up for something else.",
                count(number("windows"), "window"),
                number("longest_pause_seconds"),
                bytes(told.tally.bytes),
            ),
            remediation: format!(
                "Find the setting of {source} that names {dest} or its port, and remove it if nobody needs it; mute the finding \
                 if it is wanted."
            ),
            verify: format!("catchment findings list --kind {}", told.kind),
            ..Story::default()
        }
    }

    fn save(&self) -> Option<Vec<u8>> {
        let mut beats: Vec<_> = self.beats.iter().map(|(name, beat)| (*name, *beat)).collect();
        beats.sort_unstable_by_key(|(name, _)| *name);
        Some(postcard::to_allocvec(&beats).expect("plain values serialize"))
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), String> {
        let beats: Vec<(u128, Beat)> = postcard::from_bytes(saved).map_err(|e| e.to_string())?;
        self.beats = beats.into_iter().collect();
        Ok(())
    }
}

impl BackgroundChatter {
    /// What is watched of the pair, this window included; `None` where too many are watched.
    fn beat(&mut self, talk: &Talk<'_>, windows: u32, now: EventTime) -> Option<&Beat> {
        let name = talk.pair.name();
        let is_full = self.beats.len() >= MOST && !self.beats.contains_key(&name);
        if is_full {
            return None;
        }
        let beat = self.beats.entry(name).or_insert_with(|| Beat::first(now));
        if windows == 1 {
            *beat = Beat::first(now);
        }
        beat.again(now);
        Some(beat)
    }
}

/// Whether it is told already that nothing comes back.
fn has_another_name(talk: &Talk<'_>, out: &Sightings) -> bool {
    let subject = talk.subject();
    [FindingKind::NoResponse, FindingKind::NeverEstablished].iter().any(|kind| out.is_open(*kind, &subject))
}

#[cfg(test)]
mod tests {
    use catchment_core::{FindingKind, FindingRow, Severity, Status};

    use crate::detect::testing::{Flow, Scene, flow};

    /// A request of a few bytes that is acknowledged and not answered.
    fn pings() -> Flow {
        flow("shop/web", "shop/old:9000").packets(4, 3).bytes(70, 52).connections(1, 1, 0)
    }

    fn told(rows: Vec<FindingRow>) -> Option<FindingRow> {
        rows.into_iter().find(|row| row.kind == FindingKind::BackgroundChatter)
    }

    fn every(scene: &mut Scene, minutes: i64, times: usize, row: impl Fn() -> Flow) -> Option<FindingRow> {
        (0..times).find_map(|_| {
            scene.skip_minutes(minutes - 1);
            told(scene.window(row().both()))
        })
    }

    #[test]
    fn a_trickle_without_data_back_is_told_after_thirty_windows_and_data_end_it() {
        let mut scene = Scene::new();
        assert_eq!(every(&mut scene, 1, 29, pings), None);
        scene.restart();
        let opened = every(&mut scene, 1, 1, pings).expect("told");
        assert_eq!((opened.severity, opened.subject.get("dest")), (Severity::Info, Some("old")));
        let over = every(&mut scene, 1, 1, || pings().packets(4, 4).bytes(70, 400)).expect("over");
        assert_eq!(over.status, Status::Resolved);
    }

    #[test]
    fn it_may_come_in_longer_pauses_if_they_are_even() {
        let mut scene = Scene::new();
        assert!(every(&mut scene, 10, 30, pings).is_some());
        let mut scene = Scene::new();
        for pause in [1, 30, 3, 17, 1, 55].into_iter().cycle().take(60) {
            assert_eq!(every(&mut scene, pause, 1, pings), None);
        }
    }

    #[test]
    fn it_may_come_over_one_connection_that_is_quiet_in_between() {
        let whisper =
            |packets| flow("shop/web", "shop/old:9000").connections(0, 0, 1).packets(packets, packets).bytes(54, 52);
        let mut scene = Scene::new();
        let mut opened = None;
        for packets in [2, 0].into_iter().cycle().take(59) {
            assert_eq!(opened, None);
            opened = told(scene.window(whisper(packets).both()));
        }
        assert!(opened.is_some());
    }

    #[test]
    fn an_answer_now_and_then_is_an_answer() {
        let mut scene = Scene::new();
        for _ in 0..4 {
            assert_eq!(every(&mut scene, 1, 25, pings), None);
            assert_eq!(every(&mut scene, 1, 1, || pings().bytes(70, 400)), None);
        }
    }

    fn never_told(row: impl Fn() -> Flow) {
        assert_eq!(every(&mut Scene::new(), 1, 40, row), None);
    }

    #[test]
    fn what_keeps_a_connection_alive_is_none() {
        never_told(|| flow("shop/web", "shop/db:5432").packets(4, 4).bytes(52, 52).connections(0, 0, 3));
    }

    #[test]
    fn first_packets_of_short_connections_say_nothing() {
        never_told(|| flow("shop/web", "shop/db:5432").packets(2, 0).bytes(60, 0).connections(2, 2, 0));
    }

    #[test]
    fn silence_by_design_and_the_platform_are_none() {
        never_told(|| flow("shop/web", "ops/statsd:8125").udp().packets(3, 0).connections(1, 0, 1));
        never_told(|| flow("monitoring/probe", "shop/old:9000").packets(4, 3).bytes(70, 52));
        never_told(|| flow("shop/web", "kube-system/dns:53").udp().packets(3, 3).bytes(50, 55).connections(3, 3, 0));
    }

    #[test]
    fn what_is_told_as_silence_is_not_told_twice() {
        never_told(|| flow("shop/web", "shop/db:5432").packets(6, 0).connections(1, 0, 1));
    }
}
