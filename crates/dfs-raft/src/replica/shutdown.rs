//! Stopping in order, so that the next start has nothing to repair.

use tokio::time::timeout;

use super::leadership::Leadership;
use super::{Inner, Phase};
use crate::machine::StateMachine;

impl<M: StateMachine> Inner<M> {
    pub(super) async fn shutdown(&self) {
        self.entering.cancel();
        let _setup = self.setup.lock().await;
        if let Some(node) = self.node()
            && self.failure.reason().is_none()
        {
            node.hand_over().await;
        }
        self.stopping.cancel();
        let stopped = std::mem::replace(&mut *self.phase(), Phase::Stopped);
        let Phase::Member {
            node,
            directory,
            mut tasks,
        } = stopped
        else {
            return;
        };
        tasks.shutdown().await;
        let deadline = self.config.rpc_timeout * 5;
        node.stop(deadline).await;
        drop(node);
        let mut open = directory.open_files();
        // What it gives is a lock, which no task may take along.
        let closed = async { open.wait_for(|count| *count == 0).await.is_ok() };
        match timeout(deadline, closed).await {
            Ok(true) if self.failure.reason().is_none() => {
                let marked = self.env.run_blocking(move || directory.mark_clean()).await;
                if let Err(e) = marked {
                    tracing::warn!(error = %e, "the clean stop was not noted");
                }
            }
            Ok(_) => {}
            Err(_) => tracing::warn!("a file is still being read; the stop is not clean"),
        }
        self.leadership.send_replace(Leadership::default());
    }
}
