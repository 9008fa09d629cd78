package oauth

import (
	"net/http"
	"slices"

	"github.com/pdskit/pdskit/oauth/ui"
	"github.com/pdskit/pdskit/storage"
)

// managerDevices lists the devices on which the account is remembered.
func (v *visit) managerDevices() error {
	list, err := v.devicesOf(v.r.Context(), v.owner.DID)
	if err != nil {
		return err
	}
	page := &ui.ManagerDevicesPage{Frame: v.frame(nil), Manager: v.manager(ui.SectionDevices), SignOut: v.sectionForm("devices")}
	for _, d := range list {
		page.Devices = append(page.Devices, *newDeviceView(d.key, d.doc, v.dev.key))
	}
	slices.SortStableFunc(page.Devices, func(a, b ui.Device) int { return b.LastSeen.Compare(a.LastSeen) })
	return v.show(http.StatusOK, page)
}

// managerDevicesPost signs the account out of a device, maybe this one.
func (v *visit) managerDevicesPost() error {
	ctx, did, device := v.r.Context(), v.owner.DID, v.field(ui.FieldDevice)
	out := func(docs storage.Docs) error { return signOut(docs, device, did) }
	if device == v.dev.key {
		if err := v.changeDevice(ctx, v.w, v.dev, false, out); err != nil {
			return err
		}
		return v.goTo(v.url("sign-in", fieldNotice, ui.NoticeSignedOut))
	}
	if err := v.update(ctx, out); err != nil {
		return err
	}
	return v.goTo(v.section("devices", fieldNotice, ui.NoticeDeviceSignedOut))
}
