//! Bytes as they go over the wire, for what no HTTP client sends.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A connection on which the test writes every byte itself.
pub(crate) struct Wire(TcpStream);

impl Wire {
    /// To the authority of a plain URL.
    pub(crate) async fn to(url: &str) -> Self {
        let authority = url.strip_prefix("http://").unwrap().split('/').next().unwrap();
        Self(TcpStream::connect(authority).await.unwrap())
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads to the first bytes of a reply.
    pub(crate) async fn first(&mut self) -> Vec<u8> {
        let mut read = vec![0; 1024];
        let count = self.0.read(&mut read).await.unwrap();
        read.truncate(count);
        read
    }

    /// Everything until the other side closes the connection, in order or not.
    pub(crate) async fn rest(mut self) -> String {
        let mut read = Vec::new();
        // What was read before a reset stays in `read`.
        let _ = self.0.read_to_end(&mut read).await;
        String::from_utf8_lossy(&read).into_owned()
    }
}

/// Sends `bytes` and reads until the other side closes the connection.
pub(crate) async fn exchange(url: &str, bytes: impl AsRef<[u8]>) -> String {
    let mut wire = Wire::to(url).await;
    wire.send(bytes).await;
    wire.rest().await
}
