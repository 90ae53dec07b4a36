//! Checks the invariants of the inventory, for tests.

use super::Inventory;
use crate::time::Time;

impl Inventory {
    /// Checks every invariant by comparing all indexes with the reservations.
    ///
    /// # Panics
    /// If an invariant does not hold.
    pub fn check(&self) {
        self.check_schedules();
        self.check_ends();
        self.check_connections();
        assert_eq!(
            self.keys.len(),
            self.reservations.iter().filter_map(|one| one.key_index()).count()
        );
        assert!(self.reservations.iter().all(|one| one.number <= self.last_number));
        assert_eq!(self.names.len(), self.ids().count());
        self.check_queue();
    }

    fn check_schedules(&self) {
        let mut bookings = 0;
        for id in self.ids() {
            let mut last = Time::MIN;
            for booking in self.schedules[id.index()].iter() {
                assert!(last <= booking.from && booking.from < booking.until, "overlap on {id}");
                last = booking.until;
                let owner = &self.reservations[&booking.number];
                assert_eq!(owner.interval(), booking.interval());
                assert!(owner.targets().contains(&id));
                bookings += 1;
            }
        }
        let held: usize = self.reservations.iter().map(|one| one.targets().len()).sum();
        assert_eq!(bookings, held, "the schedules differ from the reservations");
    }

    fn check_ends(&self) {
        for (is_lease, ends) in [(false, &self.ends), (true, &self.leases)] {
            let all = self.reservations.iter();
            let known = all.filter(|one| one.lease == is_lease && !one.until.is_never());
            let mut known: Vec<_> = known.map(|one| (one.until, one.number)).collect();
            known.sort_unstable();
            let mut indexed: Vec<_> = ends.iter().copied().collect();
            if is_lease {
                indexed.extend(self.unmoved());
                indexed.sort_unstable();
            }
            assert_eq!(indexed, known, "the index of ends differs from the reservations");
        }
    }

    fn check_connections(&self) {
        let all = || self.reservations.iter();
        for (is_kept_alive, set) in [(false, &self.bound), (true, &self.kept_alive_by)] {
            let owned = all().filter(|one| one.keep_alive().is_some() == is_kept_alive);
            let owned = owned.filter_map(|one| Some((one.session()?, one.number)));
            let mut owned: Vec<_> = owned.collect();
            owned.sort_unstable();
            assert!(set.iter().eq(&owned), "the index of connections differs");
        }
        let kept_alive = all().filter_map(|one| Some((one.keep_alive()?.deadline, one.number)));
        let mut kept_alive: Vec<_> = kept_alive.collect();
        kept_alive.sort_unstable();
        assert!(self.keep_alives.iter().eq(&kept_alive), "the index of deadlines differs");
    }
}
