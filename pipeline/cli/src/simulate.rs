//! `catchment simulate`.

use catchment_core::{Error, Result};
use catchment_simulator::Options;

use crate::args::{GoldmaneArgs, SimulateTarget};
use crate::config::LogConfig;

pub(crate) fn simulate(target: SimulateTarget) -> Result<()> {
    let SimulateTarget::Goldmane(args) = target;
    crate::start_log(&LogConfig::default())?;
    crate::tokio_runtime()?.block_on(goldmane(options(args)))
}

fn options(args: GoldmaneArgs) -> Options {
    Options {
        listen: args.listen,
        seed: args.seed,
        nodes: args.nodes,
        flows_per_second: args.flows_per_second,
        speed: args.speed,
        start: args.start,
        duration: args.duration,
        backfill: args.backfill,
        truth: args.truth,
        knowledge: args.knowledge,
        late_share: args.late_share,
        resend: args.resend,
        restart_after: args.restart_after,
    }
}

async fn goldmane(options: Options) -> Result<()> {
    let running = catchment_simulator::serve(options).await?;
    eprintln!("simulated Goldmane on http://{}; stop with Ctrl-C", running.local_addr());
    crate::run::stop_signal().await.map_err(|e| Error::internal("cannot wait for signals").caused_by(e))?;
    running.shutdown().await
}
