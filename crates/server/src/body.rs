//! Request bodies: buffered up to a bound, within a time, counted against the total.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use aws_lc_rs::digest::{Context as Hasher, SHA256};
use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use vestibule_model::{Denial, Digest, Refusal};

use crate::{config::LimitsConfig, slots::Held};

/// Most bytes of a refused request that are read away.
const DISCARDED_MAX_BYTES: usize = 256 << 10;
/// And how long that may take.
const DISCARDED_WITHIN: Duration = Duration::from_secs(1);

/// Reads a whole body. What is too large is refused before it is read, where its length is announced.
pub(crate) async fn read(body: Incoming, limits: &LimitsConfig, held: &mut Held) -> Result<Bytes, Refusal> {
    let within = Duration::from_secs(limits.body_read_seconds);
    tokio::time::timeout(within, collect(body, limits.body_max_bytes, held))
        .await
        .map_err(|_| Refusal::new(Denial::BodyTooSlow, format!("not complete after {within:?}")))?
}

async fn collect(mut body: Incoming, max: usize, held: &mut Held) -> Result<Bytes, Refusal> {
    let too_large = || Refusal::new(Denial::BodyTooLarge, format!("`limits.body_max_bytes` is {max}"));
    if body.size_hint().lower() > max as u64 {
        return Err(too_large());
    }
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    let mut total = 0usize;
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|error| Refusal::new(Denial::BodyTooSlow, format!("the body broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        total += data.len();
        if total > max {
            return Err(too_large());
        }
        held.grow(data.len())?;
        // One frame, the usual case, is kept as it is; more are put together.
        match first.take() {
            None if rest.is_empty() => first = Some(data),
            None => rest.extend_from_slice(&data),
            Some(start) => {
                rest.extend_from_slice(&start);
                rest.extend_from_slice(&data);
            }
        }
    }
    Ok(first.unwrap_or_else(|| rest.freeze()))
}

/// Whether a body that was refused so was not read to its end.
pub(crate) fn is_broken_off(denial: Denial) -> bool {
    matches!(denial, Denial::BodyTooLarge | Denial::BodyTooSlow | Denial::BytesInFlightExceeded)
}

/// Reads the rest of a refused request away, so that its connection can carry the next one. False when it is too large
/// or too slow for that.
pub(crate) async fn discard(mut body: Incoming) -> bool {
    let all = async {
        let mut left = DISCARDED_MAX_BYTES;
        while let Some(frame) = body.frame().await {
            let size = frame.ok()?.into_data().map_or(0, |data| data.len());
            left = left.checked_sub(size)?;
        }
        Some(())
    };
    matches!(tokio::time::timeout(DISCARDED_WITHIN, all).await, Ok(Some(())))
}

/// The digest and the size in bytes of a body that streams through, once it is complete.
#[derive(Debug, Clone, Default)]
pub(crate) struct StreamedDigest(Arc<OnceLock<(Digest, u64)>>);

impl StreamedDigest {
    /// Digest and size, if the body came to its end.
    pub(crate) fn get(&self) -> Option<(Digest, u64)> {
        self.0.get().copied()
    }
}

/// A body that no policy reads: streamed, bounded, digested for the record.
pub(crate) struct Opaque {
    inner: Incoming,
    max: u64,
    size: u64,
    hasher: Hasher,
    digest: StreamedDigest,
}

impl Opaque {
    /// `max` is the most bytes that are let through.
    pub(crate) fn new(inner: Incoming, max: u64) -> Result<(Self, StreamedDigest), Refusal> {
        if inner.size_hint().lower() > max {
            return Err(Refusal::new(
                Denial::BodyTooLarge,
                format!("`limits.opaque_body_max_bytes` is {max}"),
            ));
        }
        let digest = StreamedDigest::default();
        Ok((Self { inner, max, size: 0, hasher: Hasher::new(&SHA256), digest: digest.clone() }, digest))
    }
}

impl Opaque {
    fn complete(&self) {
        if let Ok(bytes) = self.hasher.clone().finish().as_ref().try_into() {
            let _ = self.digest.0.set((Digest::from_bytes(bytes), self.size));
        }
    }
}

impl http_body::Body for Opaque {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(cx)) else {
            self.complete();
            return Poll::Ready(None);
        };
        let frame = frame?;
        if let Some(data) = frame.data_ref() {
            self.size = self.size.saturating_add(data.len() as u64);
            if self.size > self.max {
                return Poll::Ready(Some(Err("the body is larger than allowed".into())));
            }
            let data = data.clone();
            self.hasher.update(&data);
        }
        if self.inner.is_end_stream() {
            self.complete();
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
