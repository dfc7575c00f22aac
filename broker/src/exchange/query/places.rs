//! Places for queries: so many on the node, and half of them for any one department, so that nobody's questions keep all others from asking.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use crate::exchange::model::DepartmentAlias;

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The node has none left.
    Node,
    /// The department has its share.
    Department,
}

/// Bounded places, over all departments and for each. Holds nothing of a department that has none taken.
#[derive(Debug)]
pub(super) struct Places {
    all_max: usize,
    share_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_department: HashMap<DepartmentAlias, usize>,
}

/// One place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    department: DepartmentAlias,
}

impl Places {
    pub(super) fn new(all_max: usize) -> Arc<Self> {
        Arc::new(Self { all_max, share_max: all_max.div_ceil(2), taken: Mutex::default() })
    }

    pub(super) fn take(self: &Arc<Self>, department: &DepartmentAlias) -> Result<Place, Full> {
        let mut taken = self.taken.lock();
        let own = taken.by_department.get(department).copied().unwrap_or(0);
        if own >= self.share_max {
            return Err(Full::Department);
        }
        if taken.all >= self.all_max {
            return Err(Full::Node);
        }
        taken.all += 1;
        taken.by_department.insert(department.clone(), own + 1);
        Ok(Place { places: self.clone(), department: department.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        taken.all -= 1;
        if let Some(own) = taken.by_department.get_mut(&self.department) {
            *own -= 1;
            if *own == 0 {
                taken.by_department.remove(&self.department);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_department_takes_half_of_the_places_and_the_others_the_rest() {
        let [one, other, third] = ["taxation", "civil-affairs", "market-supervision"].map(|name| name.parse().unwrap());
        let places = Places::new(4);
        let mut held = vec![places.take(&one).unwrap(), places.take(&one).unwrap()];
        assert_eq!(places.take(&one).err(), Some(Full::Department));
        held.push(places.take(&other).unwrap());
        held.push(places.take(&third).unwrap());
        assert_eq!(places.take(&other).err(), Some(Full::Node));
        held.clear();
        assert!(places.taken.lock().by_department.is_empty(), "nothing is kept of who has gone");
        assert!(places.take(&one).is_ok());
        // Of a single place nobody has half.
        let single = Places::new(1);
        let held = single.take(&one).unwrap();
        assert_eq!(single.take(&other).err(), Some(Full::Node));
        drop(held);
        assert!(single.take(&other).is_ok());
    }
}
