use std::sync::{Arc, Barrier, mpsc};

use vestibule_containment::{Containment, Passage};
use vestibule_model::Denial;

use crate::{
    shelf::Shelf,
    world::{Token, agent, clock, following, order},
};

const ROUNDS: u32 = 1000;
const THREADS: u32 = 4;
const EACH: u32 = 8;

/// Threads admit while the agent is being revoked. Whatever they hold afterwards is cut, and whatever comes afterwards
/// is refused: there is no third way.
#[test]
fn after_the_acknowledgement_nothing_admitted_is_uncut() {
    // What is admitted is held here until the order has returned, so that each order gives up: in no time at all.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let (containment, _follower) = runtime.block_on(following(Arc::new(Shelf::default()), clock()));
    let start = Arc::new(Barrier::new(THREADS as usize + 1));
    let (held, admitted) = mpsc::channel();
    let racers: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (containment, start, held) = (containment.clone(), start.clone(), held.clone());
            std::thread::spawn(move || {
                for round in 0..ROUNDS {
                    start.wait();
                    held.send(admit(&containment, round, thread)).unwrap();
                    start.wait();
                }
            })
        })
        .collect();
    let (mut cut, mut refused) = (0, 0);
    for round in 0..ROUNDS {
        start.wait();
        let report = runtime.block_on(containment.order(order(agent(&format!("agent-{round}"))))).unwrap();
        let admitted: Vec<Passage> = (0..THREADS).flat_map(|_| admitted.recv().unwrap()).collect();
        for passage in &admitted {
            assert_eq!(passage.cut(), Some(Denial::AgentRevoked), "round {round}: admitted and not cut");
        }
        // An attempt that was registered but not yet checked is found by the walk and refused all the same.
        let (counted, least) = (report.cut.attempts, admitted.len() as u64);
        assert!(
            (least..=least + u64::from(THREADS)).contains(&counted),
            "round {round}: {counted} of {least}"
        );
        assert!(admit(&containment, round, THREADS).is_empty());
        cut += admitted.len() as u32;
        refused += THREADS * EACH - admitted.len() as u32;
        drop(admitted);
        start.wait();
    }
    racers.into_iter().for_each(|racer| racer.join().unwrap());
    assert!(cut > 0 && refused > 0, "the race had two sides: {cut} cut, {refused} refused");
}

fn admit(containment: &Arc<Containment>, round: u32, thread: u32) -> Vec<Passage> {
    let agent = format!("agent-{round}");
    (0..EACH)
        .filter_map(|n| {
            let token = Token::of((round * (THREADS + 1) + thread) * EACH + n, &["root", &agent, "leaf"]);
            token.admit(containment).ok()
        })
        .collect()
}
