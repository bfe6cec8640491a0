//! What the protocol takes from crates that the models cannot look into, with the promises that those crates make and
//! not one more.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use super::sync::{AtomicUsize, Mutex, Ordering};

/// An atomic pointer to a value. The values lie where the model does not look, so that nothing is ordered but by the
/// pointer itself.
#[derive(Debug)]
pub(crate) struct ArcSwap<T> {
    values: std::sync::Mutex<Vec<Arc<T>>>,
    current: AtomicUsize,
}

impl<T> ArcSwap<T> {
    pub(crate) fn from_pointee(value: T) -> Self {
        Self { values: std::sync::Mutex::new(vec![Arc::new(value)]), current: AtomicUsize::new(0) }
    }

    pub(crate) fn load(&self) -> Arc<T> {
        let current = self.current.load(Ordering::Acquire);
        Arc::clone(&self.values.lock().unwrap()[current])
    }

    pub(crate) fn store(&self, value: Arc<T>) {
        let place = {
            let mut values = self.values.lock().unwrap();
            values.push(value);
            values.len() - 1
        };
        self.current.store(place, Ordering::Release);
    }
}

/// Wakes whoever began to listen before.
#[derive(Debug, Default)]
pub(crate) struct Notify {
    state: Arc<Mutex<Listeners>>,
}

#[derive(Debug, Default)]
struct Listeners {
    rounds: usize,
    wakers: Vec<Waker>,
}

impl Notify {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn notified(&self) -> Notified {
        let round = self.state.lock().unwrap().rounds;
        Notified { state: Arc::clone(&self.state), round }
    }

    pub(crate) fn notify_waiters(&self) {
        let wakers = {
            let mut state = self.state.lock().unwrap();
            state.rounds += 1;
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

#[derive(Debug)]
pub(crate) struct Notified {
    state: Arc<Mutex<Listeners>>,
    round: usize,
}

impl Future for Notified {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let waker = context.waker().clone();
        let mut state = self.state.lock().unwrap();
        if state.rounds != self.round {
            return Poll::Ready(());
        }
        state.wakers.push(waker);
        Poll::Pending
    }
}

/// Once cancelled, it stays so.
#[derive(Debug, Clone, Default)]
pub(crate) struct CancellationToken {
    state: Arc<Mutex<Listeners>>,
}

pub(crate) type WaitForCancellationFutureOwned = Notified;

impl CancellationToken {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn cancel(&self) {
        Notify { state: Arc::clone(&self.state) }.notify_waiters();
    }

    pub(crate) fn cancelled(&self) -> Notified {
        Notified { state: Arc::clone(&self.state), round: 0 }
    }

    pub(crate) fn cancelled_owned(self) -> Notified {
        self.cancelled()
    }
}
