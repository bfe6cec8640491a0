//! An incident: much is in flight, one agent of a family is compromised, and the operator revokes it. Measured is how
//! long the operator waits for the acknowledgement; what must hold then is looked at, and ends the run where it does not.

mod crowd;
mod family;
mod figures;

use std::{path::Path, thread, time::Duration};

use serde_json::Value;
use vestibule_model::{Clock, SystemClock};

use crate::{
    Failed,
    agents::block_on,
    gateway::{Gateway, Operator, until_ready},
    upstream::Application,
};

use crowd::{Crowd, Sweep};
use family::Family;
pub(crate) use figures::Incident;
use figures::Times;

/// Of the requests of an agent, one in so many waits for its turn at the gateway; the application has the others.
const QUEUED_SHARE: usize = 20;

/// After the acknowledgement so long is waited for bytes that must not come.
const LISTENED: Duration = Duration::from_millis(200);

/// How much is in flight.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Size {
    /// Requests in flight in an incident. The gateway needs two file descriptors for most of them.
    #[arg(long, default_value_t = 10_000)]
    in_flight: usize,
    /// Agents that share them, all of one family.
    #[arg(long, default_value_t = 50)]
    family: usize,
    /// Those of them that are revoked: one agent and what it has spawned.
    #[arg(long, default_value_t = 5)]
    subtree: usize,
    /// How many incidents.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    incidents: u32,
}

impl Size {
    /// Requests of each agent.
    fn each(&self) -> usize {
        self.in_flight / self.family.max(1)
    }

    /// Those of them that wait at the gateway.
    fn queued_each(&self) -> usize {
        self.each().div_ceil(QUEUED_SHARE)
    }

    fn check(&self) -> Result<(), Failed> {
        if self.subtree == 0 || self.subtree >= self.family || self.each() < 2 {
            return Err(Failed(
                "an incident needs a subtree smaller than the family, and two requests of each agent".to_owned(),
            ));
        }
        let (needed, allowed) = (2 * self.in_flight + 200, open_files_max());
        match allowed {
            Some(allowed) if allowed < needed => Err(Failed(format!(
                "{} requests in flight need {needed} file descriptors per process and {allowed} are allowed: raise `ulimit \
                 -n`, or lower `--in-flight`",
                self.in_flight
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// The limits of a gateway that takes this much, and keeps as much as it must in the queue.
    fn limits(&self) -> String {
        format!(
            "connections_max: 100000, connections_per_peer_max: 100000, agent_requests_max: {}, agent_queue_max: 10000, \
             agent_queue_seconds: 300, upstream_head_seconds: 3600",
            self.each() - self.queued_each()
        )
    }
}

/// What one order was about, at the moment of its acknowledgement.
struct Acknowledged {
    took: Duration,
    report: Value,
}

/// Everything that takes part.
struct Scene<'a> {
    size: Size,
    gateway: &'a Gateway,
    application: &'a Application,
    operator: Operator,
    clock: SystemClock,
}

/// Measures incidents on a gateway of their own.
pub(crate) fn measure(binary: &Path, application: &Application, size: Size) -> Result<Incident, Failed> {
    size.check()?;
    let folder = tempfile::tempdir().map_err(|error| Failed::because("no temporary folder", error))?;
    let mut gateway = Gateway::start(binary, folder.path(), &application.url, &size.limits())?;
    gateway.register(1)?;
    let operator = gateway.operator()?;
    let scene =
        Scene { size, gateway: &gateway, application, operator, clock: SystemClock::default() };
    scene.play()
}

impl Scene<'_> {
    fn play(mut self) -> Result<Incident, Failed> {
        let size = self.size;
        let mut family = block_on(Family::new(self.gateway))?;
        // The policies are loaded in the background.
        until_ready(|| block_on(family.child()).map(drop))?;
        let others = block_on(family.children(size.family - size.subtree))?;
        let mut crowd = Crowd::open(&self.gateway.hold(), &others, size.each())?;
        self.until_under_way(&family.id, others.len())?;
        let (mut orders, mut idle_orders, mut told) = (Vec::new(), Vec::new(), 0);
        for number in 0..size.incidents {
            idle_orders.push(self.revoke(&format!("nobody-{number}"))?.took);
            let (acknowledged, sweep) = self.incident(&mut family)?;
            orders.push(acknowledged.took);
            told += sweep.answered;
            self.others_are_untouched(&mut crowd, others.len())?;
        }
        let cut = size.subtree * size.each();
        Ok(Incident {
            in_flight: size.family * size.each(),
            cut,
            cut_queued: size.subtree * size.queued_each(),
            incidents: size.incidents,
            acknowledged: Times::of(orders),
            acknowledged_idle: Times::of(idle_orders),
            told,
            closed: cut * size.incidents as usize - told,
        })
    }

    /// A fresh agent spawns, all are busy, and it is revoked.
    fn incident(&mut self, family: &mut Family) -> Result<(Acknowledged, Sweep), Failed> {
        let subtree = block_on(family.subtree(self.size.subtree))?;
        let suspect = family::first(&subtree)?.id();
        let mut crowd = Crowd::open(&self.gateway.hold(), &subtree, self.size.each())?;
        self.until_under_way(&suspect, subtree.len())?;
        let acknowledged = self.revoke(&suspect)?;
        let sweep = crowd.sweep();
        self.is_all_cut(&acknowledged.report)?;
        sweep.is_nothing_silent()?;
        pause(LISTENED);
        let late = crowd.sweep();
        if late.bytes > 0 {
            return Err(Failed(format!("{} bytes came after the acknowledgement", late.bytes)));
        }
        Ok((acknowledged, sweep))
    }

    fn revoke(&mut self, agent: &str) -> Result<Acknowledged, Failed> {
        let start = self.clock.monotonic();
        let report = self.operator.revoke(agent, false)?;
        Ok(Acknowledged { took: self.clock.monotonic().since(start), report })
    }

    /// Waits until the requests of the agent and of all below it, `agents` in number, are where they are to stay.
    fn until_under_way(&mut self, agent: &str, agents: usize) -> Result<(), Failed> {
        let wanted = (agents * self.size.each()) as u64;
        let held = self.held_by(self.size.family.min(if agents > self.size.subtree { agents } else { self.size.family }));
        until_ready(|| {
            let report = self.operator.revoke(agent, true)?;
            let found = count(&report, "/cut/attempts");
            let at_application = self.application.held()?;
            if (found, at_application) == (wanted, held) {
                return Ok(());
            }
            Err(Failed(format!(
                "{found} of {wanted} requests are in flight, the application holds {at_application} instead of {held}"
            )))
        })
    }

    /// What the application holds of so many agents.
    fn held_by(&self, agents: usize) -> usize {
        agents * (self.size.each() - self.size.queued_each())
    }

    fn is_all_cut(&self, report: &Value) -> Result<(), Failed> {
        let wanted = self.size.subtree * self.size.each();
        let queued = self.size.subtree * self.size.queued_each();
        let listed = report.get("attempts").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let at = |stage: &str| listed.iter().filter(|one| one.get("stage").is_some_and(|at| at == stage)).count();
        let (cut, at_queue, at_application) = (count(report, "/cut/attempts"), at("queued"), at("forwarded"));
        // A report lists a thousand at most.
        let is_listed = wanted > listed.len() || (at_queue, at_application) == (queued, wanted - queued);
        if cut == wanted as u64 && is_listed {
            return Ok(());
        }
        Err(Failed(format!("{cut} of {wanted} requests were cut, {at_queue} queued, {at_application} forwarded")))
    }

    /// Not one of their sockets has a byte or was closed, and the application holds theirs and no more.
    fn others_are_untouched(&self, crowd: &mut Crowd, agents: usize) -> Result<(), Failed> {
        let sweep = crowd.sweep();
        if sweep.silent != agents * self.size.each() {
            return Err(Failed(format!("requests of others were touched: {sweep:?}")));
        }
        let held = self.held_by(agents);
        until_ready(|| match self.application.held()? {
            now if now == held => Ok(()),
            now => Err(Failed(format!("the application holds {now} instead of {held}"))),
        })
    }
}

fn count(report: &Value, pointer: &str) -> u64 {
    report.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}

/// The soft limit of this process, which its children have too (`man 5 proc_pid_limits`).
fn open_files_max() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[expect(clippy::disallowed_methods, reason = "that nothing comes is seen by waiting for it")]
fn pause(duration: Duration) {
    thread::sleep(duration);
}
