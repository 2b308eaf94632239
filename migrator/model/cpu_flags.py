"""Which words of /proc/cpuinfo's flags a program can depend on, and which only tell how the kernel runs its machine.

A kernel mixes what CPUID says with words of its own, and newer kernels have other ones: the same CPU under two kernels
has two lists. What no program can execute must not keep containers apart; a word that is not known here counts.
"""

from __future__ import annotations

from collections.abc import Iterable

# Both by arch/x86/include/asm/cpufeatures.h of Linux 6.12. First the words that the kernel has made up.
_MADE_UP = """
acc_power always amd_dcm amd_lbr_v2 aperfmperf arch_perfmon art bts constant_tsc cpuid extd_apicid lfence_rdtsc
nonstop_tsc nonstop_tsc_s3 nopl pebs rapl rep_good syscall32 sysenter32 tsc_known_freq tsc_reliable up xtopology
cat_l2 cat_l3 cdp_l2 cdp_l3 cpb cpuid_fault epb hw_pstate ibpb ibrs ibrs_enhanced intel_ppin invpcid_single mba
msr_ia32_feat_ctl msr_spec_ctrl perfmon_v2 proc_feedback pti retpoline ring3mwait rsb_ctxsw ssbd stibp xcompacted zen
ept ept_ad flexpriority tpr_shadow vcpu vmmcall vnmi vpid
bus_lock_detect cqm cqm_llc cqm_mbm_local cqm_mbm_total cqm_occup_llc sev sev_es sev_snp sme split_lock_detect
"""
# Then those of CPUID that only a kernel or a hypervisor can use: time, power, its own protection, guests, monitoring.
_OF_RING_0 = """
arat dtherm hfi hwp hwp_act_window hwp_epp hwp_notify hwp_pkg_req ida pln pts
avic decodeassists extapic flushbyasid ibs lbrv npt nrip_save pausefilter perfctr_core perfctr_llc perfctr_nb
pfthreshold skinit svm svm_lock tsc_scale v_spec_ctrl v_vmsave_vmload vgif vmcb_clean vmx x2avic
acpi amd_ibpb amd_ssbd amd_stibp apic arch_capabilities core_capabilities dca de dtes64 ds_cpl est flush_l1d ht
hypervisor invpcid mca mce md_clear monitor mtrr mwaitx nx overflow_recov pat pbe pcid pconfig pdcm pge pse pse36
sep smap smca smep smx ss succor tm tm2 topoext tsc_adjust tsc_deadline_timer umip vme wbnoinvd x2apic xtpr
"""
KERNELS_OWN = frozenset((_MADE_UP + _OF_RING_0).split())


def usable(flags: Iterable[str]) -> set[str]:
    """Those of a node's flags that programs may use."""
    return set(flags) - KERNELS_OWN
