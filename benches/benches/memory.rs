//! Memory of a fold by keys and open windows.

use catchment_benches::fold;
use catchment_benches::input::{WINDOW, list, window};
use catchment_benches::measure::resident;
use catchment_stages::{InlineWorkers, Shard};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    for keys in [20_000, 200_000] {
        let entries = window(keys, list);
        let before = resident();
        let mut workers = InlineWorkers(vec![Shard::new(WINDOW)]);
        // Everything but the mark that closes: the window stays open.
        fold(&entries[..entries.len() - 1], &mut workers);
        let open = resident();
        println!(
            "{keys} keys, one window open: {} B a key (budget 2000 and 120 a window)",
            (open - before) / keys as u64
        );
        let epochs = fold(&entries, &mut workers);
        let closed = resident();
        println!("  closed, its rows held: {} B a key more", (closed.saturating_sub(open)) / keys as u64);
        assert_eq!(epochs[0].rows(), keys + keys / 2, "a row for every key and conversation");
    }
}
