//! A broker without power: every accepted record is present once.

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use shuqiao_tests::{
    fixtures::{
        City, Home, Source,
        raw_log::{self, sequences},
        within,
    },
    on_both_homes,
};

const NAME: &str = "department/market-supervision/system/registry";

on_both_homes! {
    /// The source publishes small batches, several in flight, and says again what was not acknowledged. The node is killed at a random moment, a hundred
    /// times (fewer on Kafka, whose own durability is not the question), always on the same data. In the end: whatever was acknowledged lies in the log once,
    /// and so does everything else that was said; the view says the same.
    async fn a_broker_killed_mid_batch_a_hundred_times_holds_every_accepted_record_once(home) {
        let rounds = if home == Home::Embedded { 100 } else { 15 };
        let mut city = City::on(home).await;
        let mut random = ChaCha8Rng::seed_from_u64(20_240_315);
        let mut source = Source::seeded(1, 20);
        for _ in 0..rounds {
            let client = city.market_supervision().await;
            // From the opening of the stream on: some kills meet it, most meet batches on their way.
            let moment = Duration::from_millis(random.random_range(10..120));
            tokio::select! {
                status = source.publish_until_broken(&client) => panic!("broken before it was killed: {status}"),
                () = tokio::time::sleep(moment) => {}
            }
            city.crash().await;
        }
        let client = city.market_supervision().await;
        within(60, "the source settles", source.settle(&client)).await.expect("everything is acknowledged");
        assert!(source.accepted.len() > rounds * 5, "only {} records: nothing was tried", source.accepted.len());
        let live = client.digest(source.positions()).await.expect("the digest");
        assert_eq!(live, source.digest(), "the view holds what the source holds");
        eprintln!("{rounds} kills, {} records, {} of them said twice", source.accepted.len(), source.repeats);
        city.node.terminate().await;
        assert_eq!(sequences(&raw_log::entries(&city).await, NAME), source.accepted);
    }
}
