//! Counters for `/metrics`, in the words of the record.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use vestibule_containment::breaker::Phase;
use vestibule_evidence::Outcome;
use vestibule_model::Stop;

/// What happened to attempts since the start.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    completed: AtomicU64,
    cut: AtomicU64,
    broken: AtomicU64,
    /// By code. A stop is rare enough for a lock.
    stopped: Mutex<BTreeMap<&'static str, u64>>,
    /// By the rule that was used up. There are as many as the configuration has.
    limited: Mutex<BTreeMap<Arc<str>, u64>>,
    /// By whose breaker, and into which state. As rare.
    breaking: Mutex<BTreeMap<(Breaking, &'static str), u64>>,
}

/// Whose breaker has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Breaking {
    /// An agent's.
    Agent,
    /// An application's.
    Upstream,
}

impl Metrics {
    pub(crate) fn stopped(&self, stop: &Stop) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner).entry(stop.code()).or_default() += 1;
        if let Stop::Denied(refusal) = stop {
            for limit in &refusal.limits {
                let mut limited = self.limited.lock().unwrap_or_else(PoisonError::into_inner);
                *limited.entry(Arc::clone(&limit.rule)).or_default() += 1;
            }
        }
    }

    pub(crate) fn ended(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Completed => &self.completed,
            Outcome::Cut => &self.cut,
            Outcome::Refused
            | Outcome::UpstreamFailed
            | Outcome::Abandoned
            | Outcome::Unknown
            | Outcome::Failed => &self.broken,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn breaking(&self, whose: Breaking, phase: &Phase) {
        let to = match phase {
            Phase::Closed => "closed",
            Phase::Open { .. } => "open",
            Phase::Probing { .. } => "probing",
        };
        *self.breaking.lock().unwrap_or_else(PoisonError::into_inner).entry((whose, to)).or_default() += 1;
    }

    fn render_breaking(&self, out: &mut String) {
        let breaking = self.breaking.lock().unwrap_or_else(PoisonError::into_inner);
        for (whose, name, of) in [
            (Breaking::Agent, "vestibule_agent_breaker_transitions_total", "agents"),
            (Breaking::Upstream, "vestibule_upstream_breaker_transitions_total", "applications"),
        ] {
            let _ = writeln!(out, "# HELP {name} Changes of the breakers of {of} that this gateway made.");
            let _ = writeln!(out, "# TYPE {name} counter");
            for ((_, to), value) in breaking.iter().filter(|((found, _), _)| *found == whose) {
                let _ = writeln!(out, "{name}{{to=\"{to}\"}} {value}");
            }
        }
    }

    /// The Prometheus text format, version 0.0.4.
    pub(crate) fn render(&self, gauges: &[(&str, &str, f64)]) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "# HELP vestibule_attempts_total Attempts by how they ended.");
        let _ = writeln!(out, "# TYPE vestibule_attempts_total counter");
        for (outcome, counter) in
            [("completed", &self.completed), ("cut", &self.cut), ("broken", &self.broken)]
        {
            let value = counter.load(Ordering::Relaxed);
            let _ = writeln!(out, "vestibule_attempts_total{{outcome=\"{outcome}\"}} {value}");
        }
        let _ = writeln!(out, "# HELP vestibule_stops_total Attempts that were denied or failed, by code.");
        let _ = writeln!(out, "# TYPE vestibule_stops_total counter");
        for (code, value) in &*self.stopped.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = writeln!(out, "vestibule_stops_total{{code=\"{code}\"}} {value}");
        }
        let _ = writeln!(
            out,
            "# HELP vestibule_limited_total Calls that were refused for a rate or quota, by rule."
        );
        let _ = writeln!(out, "# TYPE vestibule_limited_total counter");
        for (rule, value) in &*self.limited.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = writeln!(out, "vestibule_limited_total{{rule=\"{rule}\"}} {value}");
        }
        self.render_breaking(&mut out);
        for (name, help, value) in gauges {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        }
        out
    }
}
