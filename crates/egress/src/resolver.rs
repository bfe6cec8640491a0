use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    str::FromStr,
    sync::Arc,
    task::{Context, Poll},
    vec,
};

use http::Uri;
use hyper_util::client::legacy::connect::dns::Name;
use tower::Service;

use crate::{Addresses, EgressError, addresses::literal};

type Future<T> = Pin<Box<dyn std::future::Future<Output = T> + Send>>;

/// Turns a name into addresses.
pub(crate) trait Lookup: Send + Sync + fmt::Debug {
    fn lookup(&self, name: Name) -> Future<io::Result<Vec<SocketAddr>>>;
}

/// The resolver of the operating system.
#[derive(Debug)]
pub(crate) struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, name: Name) -> Future<io::Result<Vec<SocketAddr>>> {
        // Port 0: the connector puts the URL's port in.
        Box::pin(async move { Ok(tokio::net::lookup_host((name.as_str(), 0)).await?.collect()) })
    }
}

/// The connector's resolver. It resolves a name once per connection, checks every address, and hands over what it
/// checked: there is no second lookup between the check and the connection in which a name server could answer
/// otherwise (DNS rebinding).
#[derive(Debug, Clone)]
pub(crate) struct CheckedResolver {
    addresses: Addresses,
    lookup: Arc<dyn Lookup>,
}

impl CheckedResolver {
    pub(crate) fn new(addresses: Addresses, lookup: Arc<dyn Lookup>) -> Self {
        Self { addresses, lookup }
    }

    /// The addresses that a connection for `url` would be made to.
    pub(crate) async fn resolve(mut self, url: &Uri) -> Result<Vec<IpAddr>, EgressError> {
        let host = url.host().unwrap_or_default();
        let refused = |reason| EgressError::AddressRefused { host: host.into(), reason };
        self.addresses.check_url(url).map_err(refused)?;
        if let Some(address) = literal(host) {
            return Ok(vec![address]);
        }
        let name = Name::from_str(host).map_err(|_| refused("not a name"))?;
        Ok(self.call(name).await?.map(|address| address.ip()).collect())
    }
}

impl Service<Name> for CheckedResolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = EgressError;
    type Future = Future<Result<Self::Response, EgressError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), EgressError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let host: Box<str> = name.as_str().into();
        let addresses = self.addresses;
        let looking_up = self.lookup.lookup(name);
        Box::pin(async move {
            let found = match looking_up.await {
                Ok(found) => found,
                Err(source) => return Err(EgressError::Resolve { host, source: Arc::new(source) }),
            };
            // One bad address refuses the name. Picking the good ones would let whoever owns the name try again and
            // again which of its addresses the gateway takes.
            match found.iter().try_for_each(|found| addresses.check(found.ip())) {
                Ok(()) => Ok(found.into_iter()),
                Err(reason) => Err(EgressError::AddressRefused { host, reason }),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, sync::Mutex};

    use http::Request;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::{Client, EgressLimits, Trust, empty};

    /// A name server that gives each of its answers once, in order, then fails.
    #[derive(Debug)]
    struct Answers(Mutex<VecDeque<Vec<IpAddr>>>);

    impl Answers {
        fn new(answers: &[&[&str]]) -> Arc<Self> {
            let parse = |answer: &&[&str]| answer.iter().map(|text| text.parse().unwrap()).collect();
            Arc::new(Self(Mutex::new(answers.iter().map(parse).collect())))
        }

        fn left(&self) -> usize {
            self.0.lock().unwrap().len()
        }
    }

    impl Lookup for Answers {
        fn lookup(&self, _: Name) -> Future<io::Result<Vec<SocketAddr>>> {
            let answer = self.0.lock().unwrap().pop_front();
            Box::pin(async move {
                let answer = answer.ok_or(io::ErrorKind::NotFound)?;
                Ok(answer.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect())
            })
        }
    }

    fn client(addresses: Addresses, answers: &Arc<Answers>) -> Client {
        let lookup = Arc::clone(answers) as Arc<dyn Lookup>;
        let tls = Trust::default().client_config(None).unwrap();
        Client::with_lookup(addresses, EgressLimits::default(), tls, lookup).unwrap()
    }

    async fn get(client: &Client, url: String) -> Result<usize, EgressError> {
        let response = client.send(Request::get(url).body(empty()).unwrap()).await?;
        Ok(Client::read_body(response.into_body(), 100).await?.len())
    }

    /// Serves one connection: `requests` answers on it, then closes it.
    async fn serve(listener: &TcpListener, requests: usize) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0u8; 4096];
        for _ in 0..requests {
            assert_ne!(stream.read(&mut buffer).await.unwrap(), 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_name_that_also_has_a_bad_address_is_refused_before_any_connection() {
        let answers = Answers::new(&[&["93.184.216.34", "127.0.0.1"]]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://two-faced.example:{}/", listener.local_addr().unwrap().port());

        let error = get(&client(Addresses::Stranger, &answers), url).await.unwrap_err();

        let EgressError::AddressRefused { host, reason } = error else { panic!("{error}") };
        assert_eq!((&*host, reason), ("two-faced.example", "loopback"));
        let idle =
            std::future::poll_fn(|context| Poll::Ready(listener.poll_accept(context).is_pending())).await;
        assert!(idle, "nothing may connect");
    }

    #[tokio::test]
    async fn a_connection_is_pinned_to_the_address_that_was_checked() {
        let answers = Answers::new(&[&["127.0.0.1"], &["169.254.169.254"]]);
        let client = client(Addresses::Operator, &answers);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = || format!("http://rebinding.example:{}/", listener.local_addr().unwrap().port());

        let (first, ()) = tokio::join!(get(&client, url()), serve(&listener, 1));
        assert_eq!(first.unwrap(), 2);
        assert_eq!(answers.left(), 1, "one connection is one lookup");

        // The connection is closed, so the next request needs another, and the name has moved.
        let error = get(&client, url()).await.unwrap_err();
        assert!(matches!(error, EgressError::AddressRefused { reason: "link-local", .. }), "{error}");
    }

    #[tokio::test]
    async fn a_pooled_connection_is_reused_without_a_lookup() {
        let answers = Answers::new(&[&["127.0.0.1"], &["169.254.169.254"]]);
        let client = client(Addresses::Operator, &answers);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = || format!("http://steady.example:{}/", listener.local_addr().unwrap().port());

        let requests = async {
            assert_eq!(get(&client, url()).await.unwrap(), 2);
            assert_eq!(get(&client, url()).await.unwrap(), 2);
        };
        tokio::join!(requests, serve(&listener, 2));
        assert_eq!(answers.left(), 1);
    }

    #[tokio::test]
    async fn resolving_alone_follows_the_same_rules() {
        let answers = Answers::new(&[&["10.0.0.1", "10.0.0.2"], &["169.254.169.254"]]);
        let client = client(Addresses::Operator, &answers);
        let resolve = async |url: &str| client.resolve(&url.parse().unwrap()).await;

        let found = resolve("http://name.example/").await.unwrap();
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(resolve("http://[::1]:80/").await.unwrap().len(), 1);
        for refused in ["http://name.example/", "http://169.254.169.254/", "http://user@name.example/"] {
            let error = resolve(refused).await.unwrap_err();
            assert!(matches!(error, EgressError::AddressRefused { .. }), "{refused}: {error}");
        }
    }

    #[tokio::test]
    async fn a_name_without_address_is_a_resolve_error_that_names_it() {
        let client = client(Addresses::Operator, &Answers::new(&[]));
        let error = get(&client, "http://nowhere.example/".to_owned()).await.unwrap_err();
        assert!(matches!(error, EgressError::Resolve { .. }), "{error:?}");
        assert_eq!(error.to_string(), "`nowhere.example` cannot be resolved");
    }
}
