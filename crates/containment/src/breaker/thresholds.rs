use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// What a registered agent has spawned is measured together, too, with so many times the numbers of one agent: a parent
/// must not evade by spawning, and one child that misbehaves is cut long before its siblings are.
const SPAWNED_TIMES: u64 = 4;

/// How long a breaker stays open, and how it is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rest {
    /// At first.
    pub open: Duration,
    /// At most, after probes that were bad.
    pub open_max: Duration,
    /// How many calls are let through to see whether it may close.
    pub probes: u32,
}

/// A share of calls, judged only when there were at least so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// From this share on it trips, in percent.
    pub percent: u8,
    /// With fewer calls in the window it does not.
    pub calls_min: u64,
}

/// When the breaker of an agent trips. What is none is not judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// What is counted is forgotten after this time.
    pub window: Duration,
    /// Operations that policy denied, of all that were asked for.
    pub denials: Option<Share>,
    /// Operations that the application answered with an error of the caller, of all that were asked for.
    pub errors: Option<Share>,
    /// Most attempts.
    pub calls: Option<u64>,
    /// Most distinct operations.
    pub operations: Option<u64>,
    /// Most bytes of requests and replies.
    pub bytes: Option<u64>,
    /// What follows.
    pub rest: Rest,
}

/// When the breaker of an application trips.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamThresholds {
    /// What is counted is forgotten after this time.
    pub window: Duration,
    /// Calls that failed, of all.
    pub failures: Share,
    /// What follows.
    pub rest: Rest,
}

/// What made a breaker change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signal {
    /// The share of denials.
    Denials,
    /// The share of errors.
    Errors,
    /// The number of attempts.
    Calls,
    /// The number of distinct operations.
    Operations,
    /// The number of bytes.
    Bytes,
    /// The share of calls to an application that failed.
    Failures,
    /// A probe, or the time for one.
    Probe,
    /// An operator.
    Order,
}

/// Why a breaker stands where it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// What made it change.
    pub signal: Signal,
    /// The figures, or what the operator said.
    pub detail: String,
    /// `gateway`, or who gave the order.
    pub by: String,
}

impl Signal {
    /// Its kebab-case text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Denials => "denials",
            Self::Errors => "errors",
            Self::Calls => "calls",
            Self::Operations => "operations",
            Self::Bytes => "bytes",
            Self::Failures => "failures",
            Self::Probe => "probe",
            Self::Order => "order",
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Cause {
    /// By the gateway itself.
    pub(super) fn own(signal: Signal, detail: impl Into<String>) -> Self {
        Self { signal, detail: detail.into(), by: "gateway".to_owned() }
    }

    /// By an operator.
    #[must_use]
    pub fn order(by: &str, reason: &str) -> Self {
        Self { signal: Signal::Order, detail: reason.to_owned(), by: by.to_owned() }
    }
}

impl Share {
    /// Whether `part` of `all` reaches it.
    pub(super) fn is_reached(self, part: u64, all: u64) -> bool {
        all >= self.calls_min && part.saturating_mul(100) >= all.saturating_mul(self.percent.into())
    }
}

impl Thresholds {
    /// For all that one registered agent has spawned together.
    pub(super) fn of_spawned(&self) -> Self {
        let times = |number: u64| number.saturating_mul(SPAWNED_TIMES);
        let share = |share: Share| Share { calls_min: times(share.calls_min), ..share };
        Self {
            denials: self.denials.map(share),
            errors: self.errors.map(share),
            calls: self.calls.map(times),
            operations: self.operations.map(times),
            bytes: self.bytes.map(times),
            ..*self
        }
    }
}
