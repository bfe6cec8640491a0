use std::{convert::Infallible, error::Error, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, LengthLimitError, Limited, combinators::UnsyncBoxBody};
use hyper::body::Incoming;

use crate::EgressError;

/// What a body that is sent may fail with.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The body of a request.
pub type EgressBody = UnsyncBoxBody<Bytes, BoxError>;

/// A body whose bytes are all there.
#[must_use]
pub fn full(bytes: impl Into<Bytes>) -> EgressBody {
    EgressBody::new(Full::new(bytes.into()).map_err(never))
}

/// No body.
#[must_use]
pub fn empty() -> EgressBody {
    EgressBody::new(Empty::new().map_err(never))
}

fn never(error: Infallible) -> BoxError {
    match error {}
}

pub(crate) async fn read(body: Incoming, max_bytes: usize) -> Result<Bytes, EgressError> {
    match Limited::new(body, max_bytes).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(EgressError::TooLarge { max_bytes }),
        Err(error) => Err(EgressError::BodyBroken { source: Arc::from(error) }),
    }
}
