package headwater;

import software.amazon.kinesis.coordinator.CoordinatorConfig;
import software.amazon.kinesis.leases.LeaseManagementConfig;

/** Intervals of the version that the adapter brings; its leader's lock has none. */
final class Tuning {
    private Tuning() {}

    static void apply(CoordinatorConfig coordinator, LeaseManagementConfig leases, long failoverMs) {
        // What the adapter would set by itself, with a warning.
        coordinator.skipShardSyncAtWorkerInitializationIfLeasesExist(true);
        leases.leaseAssignmentIntervalMillis(1_000L);
        leases.workerUtilizationAwareAssignmentConfig()
                .disableWorkerMetrics(true)
                .workerMetricsReporterFreqInMillis(1_000);
    }
}
