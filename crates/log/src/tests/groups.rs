//! How many plans share a group: a group is a sync, so few of them is what a loaded log lives on.

use std::time::Duration;

use headwater_catalog::StreamView;
use headwater_storage::memory::{Faults, Settings as Engine};
use headwater_types::runtime::simulated::World;

use super::commands::{Count, CreateTable, Deed};
use super::harness::{Cluster, quiet};

/// Every step of a group takes its time, as syncs do.
const SLOW: Faults = Faults { slow: 10_000, slow_max: Duration::from_millis(2), ..Faults::NONE };
const CLIENTS: u64 = 16;
const ADDS: u64 = 40;

#[test]
fn clients_that_come_back_while_others_are_synced_share_a_group() {
    let (mut plans, mut groups) = (0, 0);
    for seed in 0..10 {
        let world = World::new(seed);
        let inner = world.clone();
        let (of_plans, of_groups) = world.run(async move {
            let cluster = Cluster::start(&inner, Engine::OWN, 1, quiet()).await;
            let log = cluster.log(0);
            let table = log.define(CreateTable("t", Some(StreamView::KeysOnly))).await.expect("made").expect("new");
            cluster.set_faults(SLOW);
            let before = log.shared.cell.stats();
            let runtime = cluster.client(1);
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let (log, inner) = (log.clone(), runtime.clone());
                    runtime.spawn(async move {
                        for _ in 0..ADDS {
                            log.execute(Count::new(table, Deed::Add, &[client], client)).await.expect("added");
                            // On its way to the client and back.
                            inner.sleep(Duration::from_micros(inner.random() % 500)).await;
                        }
                    })
                })
                .collect();
            for client in clients {
                client.await.expect("ends");
            }
            let after = log.shared.cell.stats();
            (after.plans - before.plans, after.groups - before.groups)
        });
        assert_eq!(of_plans, CLIENTS * ADDS);
        plans += of_plans;
        groups += of_groups;
    }
    println!("groups: {plans} plans in {groups} groups, {:.1} each", plans as f64 / groups as f64);
    // Half of the clients wait while the other half is synced.
    assert!(plans >= 6 * groups, "{plans} plans in {groups} groups");
}
