//! A bundle on its way: a line of JSON for each piece of a file, so that it can be written elsewhere as it comes and
//! nobody has to hold it. The last line says that it is whole, or why it is not.

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc::{self, Receiver, Sender};
use vestibule_evidence::{BUNDLE_FILES_MAX, Bundling};
use vestibule_model::AttemptId;

use super::GatherError;

/// Pieces that wait for whoever reads them.
const WAITING_MAX: usize = 16;
/// A piece is sent when it has so many bytes.
const PIECE_BYTES: usize = 32 * 1024;

/// Sends a bundle.
#[derive(Debug)]
pub(crate) struct Parts {
    sender: Sender<Bytes>,
    bundling: Bundling,
    /// Of each file what was not sent yet.
    pieces: Vec<(&'static str, String)>,
}

impl Parts {
    pub(crate) fn new() -> (Self, Receiver<Bytes>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (
            Self { sender, bundling: Bundling::default(), pieces: Vec::with_capacity(BUNDLE_FILES_MAX) },
            receiver,
        )
    }

    /// Appends to a file. Blocks while the reader is slow.
    pub(crate) fn append(&mut self, name: &'static str, text: &str) -> Result<(), GatherError> {
        self.bundling.add(name, text.as_bytes());
        let at = match self.pieces.iter().position(|(known, _)| *known == name) {
            Some(at) => at,
            None => {
                self.pieces.push((name, String::new()));
                self.pieces.len() - 1
            }
        };
        let Some((_, piece)) = self.pieces.get_mut(at) else { return Ok(()) };
        piece.push_str(text);
        if piece.len() < PIECE_BYTES {
            return Ok(());
        }
        let piece = std::mem::take(piece);
        self.send(&json!({ "file": name, "text": piece }))
    }

    /// A line of JSON.
    pub(crate) fn append_line(&mut self, name: &'static str, value: &Value) -> Result<(), GatherError> {
        self.append(name, &format!("{value}\n"))
    }

    /// A whole file of JSON, for people to read.
    pub(crate) fn append_pretty(&mut self, name: &'static str, value: &Value) -> Result<(), GatherError> {
        self.append(name, &format!("{}\n", serde_json::to_string_pretty(value)?))
    }

    /// Sends what waits, and gives the manifest of all files.
    pub(crate) fn finish(&mut self, incident: AttemptId) -> Result<String, GatherError> {
        for (name, piece) in std::mem::take(&mut self.pieces) {
            self.send(&json!({ "file": name, "text": piece }))?;
        }
        Ok(self.bundling.manifest(incident)?)
    }

    fn send(&self, line: &Value) -> Result<(), GatherError> {
        self.sender.blocking_send(format!("{line}\n").into()).map_err(|_| GatherError::Gone)
    }

    /// A file that the manifest does not name, or the last line.
    pub(crate) async fn send_now(&self, line: &Value) -> Result<(), GatherError> {
        self.sender.send(format!("{line}\n").into()).await.map_err(|_| GatherError::Gone)
    }
}
