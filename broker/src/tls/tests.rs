//! The edge against real certificates, real sockets and a real gRPC server with the health service.
//!
//! Files are replaced under a running server as an operator would replace them. Waiting is bounded by the promise (5 s) and never measured otherwise.

use std::{net::SocketAddr, path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tonic::{
    Code, Request, Status, Streaming,
    transport::{Channel, Endpoint, Server},
};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient};

mod check;
mod ends;
mod floods;

use super::*;
use crate::{
    exchange::clock::Clock,
    pki::{Authority, Issued, NewAuthority, Request as CertificateRequest, Subject},
    rpc::peer,
    shutdown::Tasks,
};

const EXCHANGE: &str = "nantong.example";
/// What the broker promises about a revoked certificate.
const PROMISE: Duration = Duration::from_secs(5);

fn authority(directory: &Path, clock: Clock) -> Authority {
    Authority::create(directory, &NewAuthority { exchange: EXCHANGE.into(), valid_days: 365 }, clock).expect("fresh")
}

fn client_certificate(authority: &Authority, source: &str) -> Issued {
    let subject = Subject::Client(source.parse().expect("source"));
    authority.issue(&CertificateRequest { subject, valid_days: 30, directory: None }).expect("issue")
}

fn server_certificate(authority: &Authority) -> Issued {
    let subject = Subject::Server(vec!["localhost".into(), "127.0.0.1".into()]);
    authority.issue(&CertificateRequest { subject, valid_days: 30, directory: None }).expect("issue")
}

/// What a server of this authority opens, with a certificate of its own.
fn server_files(authority: &Authority) -> Files {
    let own = server_certificate(authority);
    Files {
        certificate: own.certificate,
        key: own.key,
        authorities: authority.certificate_path(),
        revocation_lists: Some(authority.crl_path()),
    }
}

/// A server, its authority, and the directory that holds both.
struct Site {
    directory: tempfile::TempDir,
    authority: Authority,
    address: SocketAddr,
    acceptor: Arc<Acceptor>,
    tasks: Tasks,
}

impl Site {
    async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    async fn start_with(change: impl FnOnce(&mut Options)) -> Self {
        let directory = tempfile::tempdir().expect("tempdir");
        let authority = authority(directory.path(), Clock::system());
        let mut options = Options::new(EXCHANGE, server_files(&authority));
        options.reload_interval = Duration::from_millis(20);
        options.cut_delay = Duration::from_millis(200);
        change(&mut options);
        let tasks = Tasks::default();
        let acceptor = Acceptor::open(options, Metrics::default(), &tasks).await.expect("good files");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let incoming = incoming(listener, acceptor.clone(), &tasks);
        let (_, health) = tonic_health::server::health_reporter();
        // The interceptor stands where every service stands: it asks who calls, and answers with it.
        let health = tonic::service::interceptor::InterceptedService::new(health, |request: Request<()>| {
            let (identity, _) = peer::caller(&request)?;
            if identity.department.as_str() == "echo" {
                return Err(Status::cancelled(format!("{} {}", identity.source, identity.certificate_serial)));
            }
            Ok(request)
        });
        let token = tasks.token();
        tasks.spawn("server", async move {
            let server = Server::builder().add_service(health);
            server.serve_with_incoming_shutdown(incoming, token.cancelled_owned()).await.expect("server");
        });
        Self { directory, authority, address, acceptor, tasks }
    }

    fn client_files(&self, identity: Option<&Issued>) -> ClientFiles {
        ClientFiles {
            authorities: self.authority.certificate_path(),
            identity: identity.map(|issued| (issued.certificate.clone(), issued.key.clone())),
        }
    }

    async fn channel(&self, files: &ClientFiles) -> Result<Channel, tonic::transport::Error> {
        let connector = Connector::open(files, None).await.expect("client files");
        let endpoint = Endpoint::from_shared(format!("https://{}", self.address)).expect("address");
        endpoint.connect_with_connector(connector).await
    }

    /// One call over a new connection.
    async fn call(&self, identity: Option<&Issued>) -> Result<(), Status> {
        let channel =
            self.channel(&self.client_files(identity)).await.map_err(|error| Status::unavailable(chain(&error)))?;
        HealthClient::new(channel).check(HealthCheckRequest::default()).await.map(|_| ())
    }

    /// A stream that is open and waits.
    async fn watch(&self, identity: &Issued) -> Streaming<HealthCheckResponse> {
        let channel = self.channel(&self.client_files(Some(identity))).await.expect("good certificate");
        let mut stream =
            HealthClient::new(channel).watch(HealthCheckRequest::default()).await.expect("watch").into_inner();
        stream.message().await.expect("alive").expect("first state");
        stream
    }

    fn outcomes(&self, outcome: &'static str) -> u64 {
        self.acceptor.metrics.handshakes.get_or_create(&[("outcome", outcome)]).get()
    }

    async fn stop(self) {
        assert_eq!(self.tasks.drain(PROMISE).await, 0, "every task of the edge ends when told to");
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Waits for something that the watcher does, within the promise.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PROMISE, wait).await.unwrap_or_else(|_| panic!("{what}: not within {PROMISE:?}"));
}

#[tokio::test]
async fn a_good_certificate_is_a_caller_with_its_serial() {
    let site = Site::start().await;
    let good = client_certificate(&site.authority, "department/echo/system/registry");
    let status = site.call(Some(&good)).await.expect_err("the echo answers with a status");
    assert_eq!(status.code(), Code::Cancelled, "{status:?}");
    assert_eq!(status.message(), format!("department/echo/system/registry {}", good.serial));
    let other = client_certificate(&site.authority, "department/taxation/system/inbox");
    site.call(Some(&other)).await.expect("an ordinary call");
    site.stop().await;
}

#[tokio::test]
async fn whoever_is_not_vouched_for_stays_outside() {
    let site = Site::start().await;
    let elsewhere = tempfile::tempdir().expect("tempdir");
    let foreign = authority(elsewhere.path(), Clock::system());
    let foreign = client_certificate(&foreign, "department/taxation/system/inbox");
    // Issued sixty days ago for thirty.
    let long_ago = Clock::manual(Clock::system().now_ms() - 60 * 86_400_000);
    let then = Authority::open(site.directory.path(), long_ago).expect("same authority");
    let expired = client_certificate(&then, "department/taxation/system/old");
    // A server's certificate is not for calling.
    let server = server_certificate(&site.authority);
    let revoked = client_certificate(&site.authority, "department/taxation/system/lost");
    let before = site.acceptor.metrics.reloads.get_or_create(&[("outcome", "replaced")]).get();
    site.authority.revoke(&revoked.serial).expect("revoke");
    until("the list is read", async || {
        site.acceptor.metrics.reloads.get_or_create(&[("outcome", "replaced")]).get() > before
    })
    .await;
    for (case, identity, remedy) in [
        ("no certificate", None, "the node wants a certificate"),
        ("foreign authority", Some(&foreign), "the node does not trust your certificate's authority"),
        ("expired", Some(&expired), "your certificate has expired"),
        ("not for clients", Some(&server), "your certificate is not for a client"),
        ("revoked", Some(&revoked), "your certificate is revoked"),
    ] {
        let status = site.call(identity).await.expect_err(case);
        let told = refusal(&status).unwrap_or_else(|| panic!("{case}: the reason got lost: {status:?}"));
        assert!(told.starts_with(remedy), "{case}: {told}");
    }
    until("every one is counted", async || site.outcomes("failed") == 5).await;
    assert_eq!(site.outcomes("accepted"), 0);
    site.stop().await;
}

#[tokio::test]
async fn a_certificate_of_another_exchange_connects_but_is_nobody() {
    let site = Site::start_with(|options| options.exchange = "other.example".into()).await;
    let named = client_certificate(&site.authority, "department/taxation/system/inbox");
    let status = site.call(Some(&named)).await.expect_err("nobody");
    assert_eq!(status.code(), Code::Unauthenticated);
    site.stop().await;
}

#[tokio::test]
async fn a_revoked_certificate_loses_its_live_stream_and_others_keep_theirs() {
    let site = Site::start().await;
    let lost = client_certificate(&site.authority, "department/taxation/system/lost");
    let kept = client_certificate(&site.authority, "department/taxation/system/kept");
    let mut lost_stream = site.watch(&lost).await;
    let mut kept_stream = site.watch(&kept).await;
    let tokens = |serial: &str| {
        let live = site.acceptor.registry.live();
        let live =
            live.into_iter().find(|live| live.identity.as_ref().is_some_and(|id| id.certificate_serial == serial));
        live.expect("connected").revoked
    };
    let (lost_token, kept_token) = (tokens(&lost.serial), tokens(&kept.serial));

    site.authority.revoke(&lost.serial).expect("revoke");
    // First the token, so that streams can say why they end; then the socket.
    tokio::time::timeout(PROMISE, lost_token.cancelled()).await.expect("token within 5 s");
    let end = tokio::time::timeout(PROMISE, lost_stream.message()).await.expect("closed within 5 s");
    end.expect_err("the stream broke off");
    until("its place is given back", async || site.acceptor.registry.live().len() == 1).await;

    assert!(!kept_token.is_cancelled());
    let waiting = tokio::time::timeout(Duration::from_millis(50), kept_stream.message()).await;
    assert!(waiting.is_err(), "the other stream goes on waiting");
    assert_eq!(site.acceptor.metrics.cut.get(), 1);
    drop(kept_stream);
    site.stop().await;
}

#[tokio::test]
async fn certificate_and_authority_change_without_a_restart_and_a_broken_file_changes_nothing() {
    let site = Site::start().await;
    let files = site.acceptor.options.files.clone();
    let client = client_certificate(&site.authority, "department/taxation/system/inbox");
    let reloads = |outcome: &'static str| site.acceptor.metrics.reloads.get_or_create(&[("outcome", outcome)]).get();
    let good_certificate = std::fs::read(&files.certificate).expect("certificate");

    // A certificate that does not belong to the key, as between the two halves of a careless copy.
    let elsewhere = tempfile::tempdir().expect("tempdir");
    let next = authority(elsewhere.path(), Clock::system());
    let next_server = server_certificate(&next);
    std::fs::copy(&next_server.certificate, &files.certificate).expect("copy");
    until("the failure is noticed", async || reloads("failed") == 1).await;
    site.call(Some(&client)).await.expect("the old identity is still in force");

    // The other half: the node now shows another authority's certificate, which only a client that trusts it accepts.
    std::fs::copy(&next_server.key, &files.key).expect("copy");
    until("the new identity is in force", async || site.call(Some(&client)).await.is_err()).await;
    let trusting_next = ClientFiles { authorities: next.certificate_path(), ..site.client_files(Some(&client)) };
    site.channel(&trusting_next).await.expect("new server certificate, old client authority");

    // Every file gone for a moment, then garbage in the list.
    std::fs::remove_file(&files.certificate).expect("remove");
    until("the loss is noticed", async || reloads("failed") == 2).await;
    std::fs::copy(&next_server.certificate, &files.certificate).expect("copy");
    std::fs::write(files.revocation_lists.as_ref().expect("configured"), "garbage").expect("write");
    until("garbage is noticed", async || reloads("failed") == 3).await;
    site.channel(&trusting_next).await.expect("the old list is still in force");
    assert_ne!(std::fs::read(&files.certificate).expect("certificate"), good_certificate);
    site.stop().await;
}

/// A list of a stranger cut off every department before it was held against the authorities.
#[tokio::test]
async fn a_list_of_another_authority_or_a_forged_one_changes_nothing_and_keeps_a_node_from_starting() {
    let site = Site::start().await;
    let files = site.acceptor.options.files.clone();
    let lists = files.revocation_lists.clone().expect("configured");
    let own = std::fs::read(&lists).expect("list");
    let client = client_certificate(&site.authority, "department/taxation/system/inbox");
    let failures = || site.acceptor.metrics.reloads.get_or_create(&[("outcome", "failed")]).get();
    let elsewhere = tempfile::tempdir().expect("tempdir");
    let other = Authority::create(
        elsewhere.path(),
        &NewAuthority { exchange: "other.example".into(), valid_days: 365 },
        Clock::system(),
    )
    .expect("fresh");
    let foreign = std::fs::read(other.crl_path()).expect("list");
    // The same name, another key.
    let impostor_directory = tempfile::tempdir().expect("tempdir");
    let impostor = authority(impostor_directory.path(), Clock::system());
    let forged = std::fs::read(impostor.crl_path()).expect("list");
    for (content, said) in [
        (foreign.clone(), "other.example"),
        (forged, "did not sign"),
        // The right one does not make the other one right.
        ([own, foreign].concat(), "none of the authorities"),
    ] {
        let before = failures();
        std::fs::write(&lists, content).expect("write");
        until("it is refused", async || failures() > before).await;
        site.call(Some(&client)).await.expect("the former list is still in force");
        let refused =
            Acceptor::open(Options::new(EXCHANGE, files.clone()), Metrics::default(), &Tasks::default()).await;
        let refused = refused.expect_err("no node starts with it").to_string();
        assert!(refused.contains(said) && refused.contains("tls.authorities"), "{refused}");
    }
    // A second authority whose list is not there: its clients would all be refused.
    site.authority.renew_crl().expect("the own list again");
    let both =
        [std::fs::read(&files.authorities), std::fs::read(other.certificate_path())].map(|read| read.expect("pem"));
    std::fs::write(&files.authorities, both.concat()).expect("write");
    let refused = Acceptor::open(Options::new(EXCHANGE, files.clone()), Metrics::default(), &Tasks::default()).await;
    let refused = refused.expect_err("an authority has no list").to_string();
    assert!(refused.contains("other.example") && refused.contains("add its list"), "{refused}");
    let lists_of_both = [std::fs::read(&lists), std::fs::read(other.crl_path())].map(|read| read.expect("pem"));
    std::fs::write(&lists, lists_of_both.concat()).expect("write");
    Acceptor::open(Options::new(EXCHANGE, files), Metrics::default(), &site.tasks).await.expect("a list of each");
    site.stop().await;
}

#[tokio::test]
async fn a_client_that_says_nothing_and_one_that_speaks_plainly_are_let_go() {
    let site = Site::start_with(|options| options.handshake_timeout = Duration::from_millis(100)).await;
    let mut silent = TcpStream::connect(site.address).await.expect("connect");
    let mut byte = [0_u8; 1];
    let read = tokio::time::timeout(PROMISE, silent.read(&mut byte)).await.expect("closed");
    assert!(matches!(read, Ok(0) | Err(_)), "nothing is ever said to it");
    assert_eq!(site.outcomes("timeout"), 1);

    let mut plain = TcpStream::connect(site.address).await.expect("connect");
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("write");
    let mut answer = Vec::new();
    // A reset instead of an end is as good.
    let read = tokio::time::timeout(PROMISE, plain.read_to_end(&mut answer)).await.expect("closed");
    assert!(read.is_err() || !answer.windows(4).any(|window| window == b"HTTP"), "{answer:?}");
    until("it is counted", async || site.outcomes("failed") == 1).await;
    site.stop().await;
}

#[tokio::test]
async fn connections_beyond_the_bounds_are_closed_and_earlier_ones_live_on() {
    let site = Site::start_with(|options| options.connections_per_department_max = 1).await;
    let first = client_certificate(&site.authority, "department/taxation/system/inbox");
    let second = client_certificate(&site.authority, "department/taxation/person/li-si");
    let other = client_certificate(&site.authority, "department/customs/system/inbox");
    let channel = site.channel(&site.client_files(Some(&first))).await.expect("room");
    let mut client = HealthClient::new(channel);
    client.check(HealthCheckRequest::default()).await.expect("served");
    site.call(Some(&second)).await.expect_err("the department has its connection");
    site.call(Some(&other)).await.expect("another department has its own bound");
    client.check(HealthCheckRequest::default()).await.expect("still served");
    assert_eq!(site.outcomes("refused_department"), 1);
    drop(client);
    site.stop().await;
}

#[tokio::test]
async fn an_old_revocation_list_is_used_or_refuses_everybody_as_configured() {
    for (expiry, admitted) in [(CrlExpiry::Warn, true), (CrlExpiry::Refuse, false)] {
        let site = Site::start_with(|options| options.crl_expiry = expiry).await;
        let client = client_certificate(&site.authority, "department/taxation/system/inbox");
        let long_ago = Clock::manual(Clock::system().now_ms() - 100 * 86_400_000);
        let then = Authority::open(site.directory.path(), long_ago).expect("same authority");
        then.renew_crl().expect("a list that ran out ten days ago");
        let now_s = Clock::system().now_ms() / 1000;
        until("the old list is read", async || {
            let end = site.acceptor.trust.load().next_update.expect("a list");
            end < now_s
        })
        .await;
        assert_eq!(site.call(Some(&client)).await.is_ok(), admitted, "{expiry:?}");
        site.stop().await;
    }
}

#[tokio::test]
async fn tls_1_2_and_resumption_are_not_offered() {
    let site = Site::start().await;
    let server = site.acceptor.trust.load().server.clone();
    assert_eq!((server.send_tls13_tickets, server.max_early_data_size), (0, 0));
    assert!(!server.session_storage.can_cache());
    assert_eq!(server.alpn_protocols, [b"h2".to_vec()]);
    // A TLS 1.2 hello: record 3.1, handshake, ClientHello 3.3, one suite, no extensions. The answer is an alert (21), protocol_version (70).
    let mut hello = vec![0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x2f, 1, 0]);
    let mut socket = TcpStream::connect(site.address).await.expect("connect");
    socket.write_all(&hello).await.expect("write");
    let mut answer = Vec::new();
    // Whether it ends with a reset does not matter: the alert came before.
    drop(tokio::time::timeout(PROMISE, socket.read_to_end(&mut answer)).await.expect("closed"));
    assert_eq!(answer.first(), Some(&21), "{answer:?}");
    site.stop().await;
}
