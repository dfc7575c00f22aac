//! Sockets that say nothing, or stop in the middle, keep nobody out.

use super::*;

/// So long an honest call may take while a flood lasts: far below the 10 s after which the flood's sockets are given up.
const SOON: Duration = Duration::from_secs(2);

/// Sockets of an address of the loopback, each after the same first bytes.
async fn sockets(site: &Site, last: u8, count: usize, first: &[u8]) -> Vec<TcpStream> {
    let mut all = Vec::new();
    for _ in 0..count {
        let socket = tokio::net::TcpSocket::new_v4().expect("socket");
        socket.bind(format!("127.0.0.{last}:0").parse().expect("address")).expect("loopback has many addresses");
        let mut socket = socket.connect(site.address).await.expect("listening");
        // One that had to go already may say so.
        drop(socket.write_all(first).await);
        all.push(socket);
    }
    all
}

#[tokio::test]
async fn silent_and_stalling_sockets_of_many_addresses_do_not_keep_an_honest_one_waiting() {
    let site = Site::start_with(|options| options.handshakes_max = 16).await;
    let client = client_certificate(&site.authority, "department/taxation/system/inbox");
    // A record of TLS 1.3 that announces a hello of 512 bytes, and its beginning.
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    let mut flood = Vec::new();
    for round in 0..3 {
        for last in 2..10 {
            let first: &[u8] = if last % 2 == 0 { &[] } else { &hello };
            flood.push(sockets(&site, last, 12, first).await);
        }
        let call = tokio::time::timeout(SOON, site.call(Some(&client))).await;
        call.unwrap_or_else(|_| panic!("round {round}: kept waiting")).expect("served");
        until("the bound holds", async || site.acceptor.metrics.connections.get() <= 17).await;
    }
    assert_eq!(site.outcomes("timeout"), 0, "nobody had to wait for the end of their patience");
    assert_eq!(site.outcomes("accepted"), 3);
    until("each is counted", async || site.outcomes("displaced") >= 3 * 8 * 12 - 16).await;
    drop(flood);
    site.stop().await;
}

#[tokio::test]
async fn silent_sockets_take_no_place_of_a_connection() {
    let site = Site::start_with(|options| {
        options.connections_max = 8;
        options.connections_per_address_max = 2;
    })
    .await;
    let client = client_certificate(&site.authority, "department/taxation/system/inbox");
    let mut flood = Vec::new();
    // Of the client's own address too.
    for last in 1..8 {
        flood.push(sockets(&site, last, 4, &[]).await);
    }
    let served = site.watch(&client).await;
    // A live connection is nobody's to displace.
    flood.push(sockets(&site, 1, 4, &[]).await);
    assert_eq!(site.acceptor.registry.live().len(), 1);
    assert_eq!(site.outcomes("refused_total") + site.outcomes("refused_address"), 0);
    drop((served, flood));
    site.stop().await;
}
