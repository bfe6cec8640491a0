//! An incident: much is in flight, one agent of a family is compromised, and the operator revokes it. Measured is how
//! long the operator waits for the acknowledgement; what must hold then is looked at, and ends the run where it does not.

mod crowd;
mod family;
mod figures;

use std::{path::Path, thread, time::Duration};

use serde_json::Value;
use vestibule_model::{Clock, SystemClock};
use vestibule_testkit::Holder;

use crate::{
    Failed,
    agents::block_on,
    application::Application,
    gateway::{Gateway, until_ready},
};

use crowd::Crowd;
use family::Family;
pub(crate) use figures::{Incident, Times};

/// Of the requests of an agent, one in so many waits for its turn at the gateway; the application has the others.
const QUEUED_SHARE: usize = 20;

/// A report lists so many attempts.
const LISTED_MAX: usize = 1_000;

/// Files of the gateway that are no request's: more than it ever has.
const OTHER_FILES: usize = 200;

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
                "an incident needs a subtree smaller than the family, and two requests of each agent"
                    .to_owned(),
            ));
        }
        let at_application = self.family * (self.each() - self.queued_each());
        let (needed, allowed) = (self.in_flight + at_application + OTHER_FILES, open_files_max());
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
            "connections_max: 100000, connections_per_peer_max: 100000, spawned_requests_max: 100000, \
             agent_requests_max: {}, agent_queue_max: 10000, agent_queue_seconds: 300, upstream_head_seconds: 3600",
            self.each() - self.queued_each()
        )
    }
}

/// What one incident came to.
struct Cut {
    took: Duration,
    /// CPU time of the gateway meanwhile.
    cpu: Duration,
    /// How many of the requests were waiting for their turn. A turn that comes free while the others are being cut is
    /// taken: it may be fewer than there were.
    queued: usize,
    /// How many were told.
    told: usize,
}

/// Everything that takes part.
struct Scene<'a> {
    size: Size,
    gateway: &'a Gateway,
    application: &'a Application,
    clock: SystemClock,
}

/// Measures incidents on a gateway of their own.
pub(crate) fn measure(binary: &Path, application: &Application, size: Size) -> Result<Incident, Failed> {
    size.check()?;
    let folder = tempfile::tempdir().map_err(|error| Failed::because("no temporary folder", error))?;
    let mut gateway = Gateway::start(binary, folder.path(), &application.url, &size.limits())?;
    gateway.register(1)?;
    let scene = Scene { size, gateway: &gateway, application, clock: SystemClock::default() };
    scene.play()
}

impl Scene<'_> {
    fn play(self) -> Result<Incident, Failed> {
        let size = self.size;
        let mut family = block_on(Family::new(self.gateway))?;
        // The policies are loaded in the background.
        until_ready(|| block_on(family.children(1)).map(drop))?;
        let others = block_on(family.children(size.family - size.subtree))?;
        let mut crowd = Crowd::open(&self.gateway.hold(), &others, size.each())?;
        self.until_under_way(&mut crowd, &family.id, others.len())?;
        let (mut cuts, mut idle_orders) = (Vec::new(), Vec::new());
        for number in 0..size.incidents {
            idle_orders.push(self.revoke(&format!("nobody-{number}"))?.0);
            let subtree;
            (family, subtree) = block_on(family.subtree(size.subtree))?;
            cuts.push(self.incident(&subtree)?);
            self.others_are_untouched(&mut crowd, others.len())?;
        }
        let cut = size.subtree * size.each();
        let told = cuts.iter().map(|cut| cut.told).sum();
        let cpu: Duration = cuts.iter().map(|cut| cut.cpu).sum();
        Ok(Incident {
            in_flight: size.family * size.each(),
            cut,
            incidents: size.incidents,
            acknowledged: Times::of(cuts.iter().map(|cut| cut.took).collect()),
            acknowledged_idle: Times::of(idle_orders),
            cpu_us: cpu.as_secs_f64() * 1e6 / (cut * cuts.len()) as f64,
            queued: cuts.iter().map(|cut| cut.queued).sum(),
            told,
            closed: cut * cuts.len() - told,
        })
    }

    /// An agent and what it has spawned are busy, and it is revoked.
    fn incident(&self, subtree: &[Holder]) -> Result<Cut, Failed> {
        let suspect = subtree.first().map(Holder::id).unwrap_or_default();
        let mut crowd = Crowd::open(&self.gateway.hold(), subtree, self.size.each())?;
        self.until_under_way(&mut crowd, &suspect, self.size.family)?;
        let before = self.gateway.process.cpu()?;
        let (took, report) = self.revoke(&suspect)?;
        let cpu = self.gateway.process.cpu()?.saturating_sub(before);
        let sweep = crowd.sweep();
        let queued = self.queued_of_all_cut(&report)?;
        if sweep.silent + sweep.strange > 0 {
            return Err(Failed::because("after the acknowledgement not all that was cut is over", sweep));
        }
        pause(LISTENED);
        match crowd.sweep().bytes {
            0 => Ok(Cut { took, cpu, queued, told: sweep.told }),
            late => Err(Failed(format!("{late} bytes came after the acknowledgement"))),
        }
    }

    /// How long the order took, and its report.
    fn revoke(&self, agent: &str) -> Result<(Duration, Value), Failed> {
        let mut operator = self.gateway.operator()?;
        let start = self.clock.monotonic();
        let report = operator.revoke(agent, false)?;
        Ok((self.clock.monotonic().since(start), report))
    }

    /// Waits until all requests of the crowd, which are all under that name, are in flight, and the application holds what
    /// it is to hold of `busy` agents.
    fn until_under_way(&self, crowd: &mut Crowd, name: &str, busy: usize) -> Result<(), Failed> {
        let (wanted, held) = (crowd.len(), self.held_by(busy));
        let mut operator = self.gateway.operator()?;
        let under_way = until_ready(|| {
            let found = count(&operator.revoke(name, true)?, "/cut/attempts");
            let holds = self.application.held()?;
            if (found, holds) == (wanted as u64, held) {
                return Ok(());
            }
            Err(Failed(format!(
                "{found} of {wanted} requests are in flight, the application holds {holds} of {held}"
            )))
        });
        under_way.map_err(|error| Failed::because(error, crowd.sweep()))
    }

    /// What the application holds of so many agents.
    fn held_by(&self, agents: usize) -> usize {
        agents * (self.size.each() - self.size.queued_each())
    }

    /// How many of them were waiting for their turn.
    fn queued_of_all_cut(&self, report: &Value) -> Result<usize, Failed> {
        let wanted = self.size.subtree * self.size.each();
        let listed = report.get("attempts").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let at =
            |stage: &str| listed.iter().filter(|one| one.get("stage").is_some_and(|at| at == stage)).count();
        let (cut, queued, forwarded) = (count(report, "/cut/attempts"), at("queued"), at("forwarded"));
        if cut == wanted as u64 && queued + forwarded == wanted.min(LISTED_MAX) {
            return Ok(queued);
        }
        Err(Failed(format!("{cut} of {wanted} requests were cut, {queued} queued, {forwarded} forwarded")))
    }

    /// Not one of their sockets has a byte or was closed, and the application holds theirs and no more.
    fn others_are_untouched(&self, crowd: &mut Crowd, agents: usize) -> Result<(), Failed> {
        let sweep = crowd.sweep();
        if sweep.silent != agents * self.size.each() {
            return Err(Failed::because("requests of others were touched", sweep));
        }
        let held = self.held_by(agents);
        until_ready(|| match self.application.held()? {
            now if now == held => Ok(()),
            now => Err(Failed(format!("the application holds {now} of {held}"))),
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

#[expect(
    clippy::disallowed_methods,
    reason = "the other side has a time of its own, and that nothing comes is seen by waiting for it"
)]
fn pause(duration: Duration) {
    thread::sleep(duration);
}
