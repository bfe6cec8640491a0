//! Circuit breakers: an agent that misbehaves is suspended by itself, with all below it, and let back by itself; an
//! application that fails is left alone until it works again.
//!
//! The attack: an agent is taken over, or follows what it read in a document, and tries whatever it can. Each attempt is
//! denied, and it goes on trying, at machine speed, while nobody looks. Or the agent is sound and goes round in circles.
//! The other trouble is no attack: an application is down, and a thousand calls wait for it.
//!
//! The two kinds share a state machine ([`Breaker`]) and a window, and are otherwise kept apart: [`Breakers`] of agents,
//! [`Upstreams`] of applications.
//!
//! # States and transitions
//!
//! | from | what happens | to |
//! |---|---|---|
//! | closed | a signal reaches its threshold | open, for [`Rest::open`] |
//! | closed, not longer than it was open before | the same | open, for twice as long as before |
//! | open | its time has passed *and a call comes* | probing, with [`Rest::probes`] places |
//! | probing | the first probe with a verdict went well | closed |
//! | probing | the first probe with a verdict did not | open, for twice as long as before |
//! | probing | nothing was told for [`Rest::open`] and a call comes | probing anew |
//! | any | opened by hand | open, until that time or until it is closed by hand |
//! | any but closed | closed by hand | closed |
//!
//! Nothing else changes it. An open one does not open again: what trips it a second time, such as calls that were under
//! way, neither lengthens nor shortens its time. The wait is doubled with each *strike* up to [`Rest::open_max`]; a good
//! probe ends the row of strikes only when as much time passes afterwards as it had been open, so that one good call does
//! not buy an agent another volley at the first price. Whoever is refused is told when to come again: the rest of the time
//! while it is open, a second while others are probing.
//!
//! A breaker whose time has passed stays open until somebody calls. An agent that never comes back is never probed, and
//! leaves one entry in the record and not one a minute.
//!
//! # What is measured
//! Only attempts of callers that door one has verified and that containment has admitted. So a stranger who sends rubbish
//! in the name of an agent, or presents its token without its key, trips nobody's breaker; nor does an agent add to its own
//! account while it is suspended.
//!
//! - **Denials**: the share of *operations* that policy denied, among those that were asked for, once there were
//!   [`Share::calls_min`]. Lists, pings and other things that are permitted to everybody are no operations: an agent cannot
//!   thin its denials with them. Malformed requests, limits, faults of the gateway and denials by containment are no
//!   denials of policy.
//! - **Errors**: the share that the application answered with an error of the caller (4xx but 429). An application that is
//!   down (5xx, no answer) is not the agent's doing: it must not suspend everybody who calls it.
//! - **Calls**, **operations** and **bytes**: how many attempts, how many distinct operations, how many bytes of bodies in
//!   either direction, counted while they flow.
//!
//! What is none in [`Thresholds`] is not judged. A signal is judged by an event that makes it grow, and each opens the
//! breaker before its event is over: the next attempt is refused. The attempt that reached the threshold gets its answer;
//! a stream that is too large is cut like the rest.
//!
//! # Windows
//! Counts are kept for [`Thresholds::window`], in six slices of which the oldest is forgotten as a whole: a count is
//! remembered for the length of the window or up to a sixth less. Time is the monotonic clock. When a breaker opens, its
//! counts begin anew, so nothing from before trips it again when it has closed. Counts are this process's own and do not
//! survive it; what they led to does.
//!
//! Agents that come and go are forgotten: a part of the table that is full (1,024 meters in each of 64) drops those that did
//! nothing within their window, then the quarter that was away longest, spawned ones first. A window is per gateway: behind
//! a balancer that spreads one agent over several gateways, each of them must see the threshold by itself.
//!
//! # Inheritance
//! **Down, everything.** The breaker of any agent in a chain refuses the chain: all that it has spawned, that acts for it or
//! that it called. What is under way with its name on the path is cut, in the walk in which an order cuts. A sibling does not
//! have its name and does not notice; neither does the agent above.
//!
//! **Up, a share.** What an agent does counts for itself. What a spawned agent does that is known by its key alone counts
//! once more for the nearest registered agent above it, on an account apart, "what it has spawned", with four times the
//! numbers of the same thresholds. So one bad child is cut long before its parent, and a parent that spawns child after
//! child, each of which stays below the threshold, is cut with all of them. A registered agent further down answers for
//! itself only: operators made it, and whoever calls it does not choose what it does.
//!
//! # Opening, and the race with admission
//! The order is that of the crate's page. A request **registers**, then **checks** the orders, then the breakers. Opening
//! **swaps** the snapshot of breakers, then **walks** the index. A request that was registered before the walk is cut; one
//! that comes later sees the breaker open. The models try the interleavings. The walk is done when
//! [`Breakers::charge`] returns; that what it cut has left, and else is severed, [`Breakers::keep`] and
//! [`Breakers::open`] wait for.
//!
//! An order comes first: a name that is suspended or revoked is refused for that, no probe is spent on it, and nobody is told
//! of a breaker. That no order but a breaker refuses, [`Containment::tripped`](crate::Containment::tripped) says.
//!
//! While a breaker is open nothing is minted for whoever has the name on their path. From the moment at which it may be
//! probed, tokens are minted again: a probe needs one.
//!
//! # Probes
//! The call that finds a breaker due asks for the turn ([`Breakers::probe`]): it writes "probing" in place of exactly the
//! record that it knows. **Of all gateways, one succeeds**, and that one has all the places; the others refuse until they hear
//! how it went. Calls of the same agent that come meanwhile wait for that write and then take a place or are refused: exactly
//! as many pass as there are places, whatever comes at once. If the store cannot be reached nothing is probed.
//!
//! A place is taken when the attempt is admitted. The verdict is given when the answer begins: denied by policy is bad, an
//! operation that was permitted is good (where errors are judged, unless it is one). What tells nothing (a list, a malformed
//! request, a fault of the application, a client that leaves) gives its place back. The first verdict decides and later ones
//! are not heard; a bad one cuts the other probes.
//!
//! # Gateways, restarts and what may be lost
//! A change is in force here at once, then written as a logged record, which all gateways follow. Each record has a *turn*;
//! of two, the later holds, and of two of the same turn the severer, so all come to the same. A trip that was written without
//! knowing of a later "closed" takes the turn after it: **what has opened is not closed by a word that did not know of it**.
//! A gateway that is killed within the milliseconds between a trip and its record has lost the trip, and with it the counts.
//! A store that fails is told in the log, and the breaker is open here all the same. A database that was restored is told
//! again what it has lost, as of orders. A record that cannot be read makes the gateway stale, and it refuses.
//!
//! # Applications
//! [`Upstreams`] measures calls that left: a failure is no connection, no answer in time, an answer that is none, or a 5xx. While
//! it is open nothing is sent to the application for an agent; calls that are under way go on, and other applications do not
//! notice. What policy denies is denied as ever. The gateway's own question which operations there are, and notices that a call
//! is over, still go out.
//!
//! What it measures and does by itself is **this gateway's own**: an application that one gateway cannot reach may be well for
//! another; and a restart forgets it. What an operator orders is logged, holds at all gateways and survives a restart; its
//! end, unlike that of an agent, needs no probe.
//!
//! One agent that makes an application answer 5xx can open the application's breaker for others. Judge its
//! [`errors`](Thresholds::errors) and calls where an application is that brittle, or raise
//! [`calls_min`](Share::calls_min) above what one agent can send.
//!
//! # Left to others
//! To charge what was admitted and nothing else, to hand each [`Change`] to [`Breakers::keep`], to record it, and to
//! choose thresholds that a busy and healthy agent does not reach.

mod board;
mod breakers;
mod installed;
mod ledger;
mod meter;
mod meters;
mod phase;
mod stored;
mod thresholds;
mod upstreams;
mod window;

pub(crate) use board::Board;
pub use breakers::{Breakers, Change};
pub use installed::Tripped;
pub(crate) use installed::{Installed, Probe};
pub use meter::{Charge, End};
pub use phase::{Breaker, Phase};
pub use thresholds::{Cause, Rest, Share, Signal, Thresholds, UpstreamThresholds};
pub use upstreams::{Resting, Trying, UpstreamChange, Upstreams};
