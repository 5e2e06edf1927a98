//! The faults are the ones that were ordered.
#![allow(clippy::unwrap_used, reason = "a test may end here")]

use super::*;

fn disk_with_file() -> (Faulty, Arc<dyn File>) {
    let disk = Faulty::new();
    disk.create_dir(Path::new("d")).unwrap();
    disk.sync_dir(Path::new("")).unwrap();
    let file = disk.create(Path::new("d/f")).unwrap();
    (disk, file)
}

#[test]
fn nothing_unsynced_survives_the_cruellest_crash() {
    let (disk, file) = disk_with_file();
    file.write_at(b"kept", 0).unwrap();
    file.sync_data().unwrap();
    disk.fork().crash(Survival::Nothing);
    let without_name = disk.fork();
    without_name.crash(Survival::Nothing);
    assert!(without_name.paths().is_empty(), "the name was not synced");
    disk.sync_dir(Path::new("d")).unwrap();
    file.write_at(b"lost", 4).unwrap();
    disk.crash(Survival::Nothing);
    assert_eq!(disk.content(Path::new("d/f")), b"kept");
    assert!(file.write_at(b"late", 0).is_err(), "handles of the dead process are dead");
}

#[test]
fn a_failed_sync_forgets_what_it_should_have_kept() {
    let (disk, file) = disk_with_file();
    disk.sync_dir(Path::new("d")).unwrap();
    disk.set_faults(Faults { fail_sync_at: Some(1), ..Faults::default() });
    file.write_at(b"gone", 0).unwrap();
    assert!(file.sync_data().is_err());
    file.sync_data().unwrap();
    disk.crash(Survival::Everything);
    assert_eq!(disk.content(Path::new("d/f")), b"");
}

#[test]
fn torn_writes_differ_by_seed_and_keep_sectors_whole() {
    let mut seen = BTreeSet::new();
    for seed in 0..40 {
        let (disk, file) = disk_with_file();
        disk.sync_dir(Path::new("d")).unwrap();
        file.write_at(&[7; 8192], 0).unwrap();
        disk.crash(Survival::Torn(seed));
        seen.insert(disk.content(Path::new("d/f")));
    }
    assert!(seen.len() > 8, "{} outcomes of 40", seen.len());
}

#[test]
fn a_full_disk_takes_a_part_and_says_so() {
    let (disk, file) = disk_with_file();
    disk.set_faults(Faults { capacity_bytes: Some(10), ..Faults::default() });
    file.write_at(b"12345678", 0).unwrap();
    let error = file.write_at(b"abcd", 8).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.len().unwrap(), 10);
}

#[test]
fn an_ordered_crash_stops_at_its_operation() {
    let (disk, file) = disk_with_file();
    disk.sync_dir(Path::new("d")).unwrap();
    disk.set_faults(Faults { crash_at: Some(disk.operations() + 2), ..Faults::default() });
    file.write_at(b"a", 0).unwrap();
    assert!(file.write_at(b"b", 1).is_err());
    assert!(disk.dead() && disk.list(Path::new("d")).is_err());
    disk.crash(Survival::Everything);
    assert_eq!(disk.content(Path::new("d/f")), b"ab", "the last write was under way");
}
