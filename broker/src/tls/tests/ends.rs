//! A connection lives no longer than what vouches for its peer.

use super::*;

/// A certificate of thirty days that ends in so many seconds.
fn ending(site: &Site, seconds: i64, source: &str) -> Issued {
    let then = Clock::manual(Clock::system().now_ms() - 30 * 86_400_000 + seconds * 1000);
    let authority = Authority::open(site.directory.path(), then).expect("same authority");
    client_certificate(&authority, source)
}

#[tokio::test]
async fn a_connection_ends_with_its_certificate_and_others_keep_theirs() {
    let site = Site::start().await;
    let ends = ending(&site, 3, "department/taxation/system/short");
    let kept = client_certificate(&site.authority, "department/taxation/system/kept");
    let mut ending_stream = site.watch(&ends).await;
    let mut kept_stream = site.watch(&kept).await;
    let live = site.acceptor.registry.live();
    let of = |serial: &str| {
        live.iter().find(|live| live.identity.as_ref().is_some_and(|own| own.certificate_serial == serial))
    };
    let token = of(&ends.serial).expect("connected").revoked.clone();
    let early = tokio::time::timeout(Duration::from_secs(1), ending_stream.message()).await;
    assert!(early.is_err(), "it holds until its end");

    // First the token, so that streams can say why they end; then the socket. Far below the minute after which everybody is judged anew.
    tokio::time::timeout(PROMISE, token.cancelled()).await.expect("token within 5 s");
    let end = tokio::time::timeout(PROMISE, ending_stream.message()).await.expect("closed within 5 s");
    end.expect_err("the stream broke off");
    until("its place is given back", async || site.acceptor.registry.live().len() == 1).await;
    let waiting = tokio::time::timeout(Duration::from_millis(200), kept_stream.message()).await;
    assert!(waiting.is_err(), "the other stream goes on waiting");
    assert_eq!(site.acceptor.metrics.cut.get(), 1, "counted once");
    site.call(Some(&ends)).await.expect_err("nor does it come in again");
    drop(kept_stream);
    site.stop().await;
}

#[tokio::test]
async fn connections_of_an_authority_that_is_taken_out_end_and_others_keep_theirs() {
    let site = Site::start().await;
    let files = site.acceptor.options.files.clone();
    let lists = files.revocation_lists.clone().expect("configured");
    let elsewhere = tempfile::tempdir().expect("tempdir");
    let new = NewAuthority { exchange: "other.example".into(), valid_days: 365 };
    let other = Authority::create(elsewhere.path(), &new, Clock::system()).expect("fresh");
    let read = |path: &Path| std::fs::read(path).expect("pem");
    let own = (read(&files.authorities), read(&lists));
    let both =
        ([own.0.clone(), read(&other.certificate_path())].concat(), [own.1.clone(), read(&other.crl_path())].concat());
    let replaced = || site.acceptor.metrics.reloads.get_or_create(&[("outcome", "replaced")]).get();
    // One file after the other, as a person does it: what does not fit together in between stays out of force.
    let put = async |(authorities, of_lists): &(Vec<u8>, Vec<u8>)| {
        let before = replaced();
        std::fs::write(&files.authorities, authorities).expect("write");
        std::fs::write(&lists, of_lists).expect("write");
        until("they are in force", async || replaced() > before).await;
    };
    put(&both).await;

    let theirs = client_certificate(&other, "department/customs/system/inbox");
    let ours = client_certificate(&site.authority, "department/taxation/system/inbox");
    // Whoever is of another exchange is nobody here, and connected all the same.
    let their_connection = site.channel(&site.client_files(Some(&theirs))).await.expect("trusted");
    let our_stream = site.watch(&ours).await;
    assert_eq!(site.acceptor.registry.live().len(), 2);

    put(&own).await;
    until("theirs has ended", async || site.acceptor.registry.live().len() == 1).await;
    let live = site.acceptor.registry.live();
    let identity = live.first().and_then(|live| live.identity.clone()).expect("ours");
    assert_eq!(identity.certificate_serial, ours.serial);
    assert_eq!(site.acceptor.metrics.cut.get(), 1);
    drop((their_connection, our_stream));
    site.stop().await;
}
