//! The `shuqiao` binary.

fn main() {
    print!("{}", shuqiao_broker::config::manual());
}
