package forwarders

import "testing"

// TestASinkThatNeverSucceededHidesNoOther: of many sinks, the longest ago of those that did is told.
func TestASinkThatNeverSucceededHidesNoOther(t *testing.T) {
	var all []figures
	for range maxSinkLabels {
		all = append(all, figures{series: series{of: "webhook"}, lastSuccess: 5})
	}
	all[0].lastSuccess, all[1].lastSuccess, all[2].lastSuccess = 0, 4, 0
	all = append(all, figures{series: series{of: "webhook"}, lastSuccess: 6})
	if sum := summedUp(all)[series{of: "webhook"}]; sum.lastSuccess != 4 {
		t.Errorf("the last success was at %v", sum.lastSuccess)
	}
}
