use tokio::sync::watch;

/// A gate that answers pass one by one: open, or shut with as many tickets as were given out.
#[derive(Debug)]
pub(crate) struct Gate(watch::Sender<Option<u64>>);

impl Gate {
    pub(crate) fn open() -> Self {
        Self(watch::Sender::new(None))
    }

    pub(crate) fn hold(&self) {
        self.0.send_replace(Some(0));
    }

    pub(crate) fn step(&self) {
        self.0.send_modify(|tickets| *tickets = tickets.map(|count| count + 1));
    }

    pub(crate) fn release(&self) {
        self.0.send_replace(None);
    }

    /// Waits for the gate to be open or for a ticket, and takes it. Of several that wait, one takes each ticket.
    pub(crate) async fn pass(&self) {
        let mut changes = self.0.subscribe();
        while !self.try_pass() {
            changes.changed().await.expect("the sender is in `self`");
        }
    }

    fn try_pass(&self) -> bool {
        let mut passed = false;
        self.0.send_if_modified(|tickets| match tickets {
            None => {
                passed = true;
                false
            }
            Some(0) => false,
            Some(count) => {
                *count -= 1;
                passed = true;
                true
            }
        });
        passed
    }
}
