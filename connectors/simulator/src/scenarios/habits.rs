//! Habits of nodes that a detector has to bear with.

use super::Scenario;

pub(super) const LATE_REPORTS: Scenario = Scenario {
    name: "late-reports",
    doc: "one flush in ten reaches the collector one to four minutes late",
    habit: |shape| shape.late_share = shape.late_share.max(0.1),
    ..Scenario::NONE
};

pub(super) const DUPLICATED_REPORTS: Scenario = Scenario {
    name: "duplicated-reports",
    doc: "nodes connect anew now and then and send five minutes again, which the collector counts twice",
    habit: |shape| shape.resend = true,
    ..Scenario::NONE
};

pub(super) const MISSING_REPORTER: Scenario = Scenario {
    name: "missing-reporter",
    doc: "the last node never reports: of what its pods take part in, the other end alone is seen",
    habit: |shape| shape.habits.is_silent = true,
    ..Scenario::NONE
};

pub(super) const NODE_RESTARTS: Scenario = Scenario {
    name: "node-restarts",
    doc: "the last node but one is away for three of every twenty minutes",
    habit: |shape| shape.habits.restarts = true,
    ..Scenario::NONE
};

pub(super) const CLOCK_SKEW: Scenario = Scenario {
    name: "clock-skew",
    doc: "the clock of the last node but two is nine seconds fast",
    habit: |shape| shape.habits.is_fast = true,
    ..Scenario::NONE
};

pub(super) const EBPF: Scenario = Scenario {
    name: "ebpf",
    doc: "no TCP flow of the ordinary cluster names a service, as with load balancing where a connection is opened",
    habit: |shape| shape.habits.hides_services = true,
    ..Scenario::NONE
};
