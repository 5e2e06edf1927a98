package headwater;

import software.amazon.kinesis.coordinator.CoordinatorConfig;
import software.amazon.kinesis.leases.LeaseManagementConfig;

/** Version 2 has no intervals beyond those of both. */
final class Tuning {
    private Tuning() {}

    static void apply(CoordinatorConfig coordinator, LeaseManagementConfig leases, long failoverMs) {
        coordinator.skipShardSyncAtWorkerInitializationIfLeasesExist(false);
    }
}
