// The program uses a client that oapi-codegen made of the OpenAPI document.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"

	"example.com/keytrail-client/keytrail"
)

func main() {
	if err := run(context.Background(), os.Getenv("KEYTRAIL_URL"), os.Getenv("KEYTRAIL_KEY")); err != nil {
		fmt.Fprintln(os.Stderr, "go client:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, url, key string) error {
	client, err := keytrail.NewClientWithResponses(url, keytrail.WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+key)
		return nil
	}))
	if err != nil {
		return err
	}
	org, err := client.CreateOrganizationWithResponse(ctx, nil, keytrail.CreateOrganizationJSONRequestBody{Name: "go"})
	if err != nil || org.JSON201 == nil {
		return fmt.Errorf("organization: %v %w", org, err)
	}
	scopes := []string{"a:read"}
	created, err := client.CreateKeyWithResponse(ctx, nil, keytrail.CreateKeyJSONRequestBody{OrgID: &org.JSON201.ID, Name: "n", Scopes: &scopes})
	if err != nil || created.JSON201 == nil || created.JSON201.Secret == nil || len(created.JSON201.Key.Scopes) != 1 {
		return fmt.Errorf("create: %v %w", created, err)
	}
	verified, err := client.VerifyKeyWithResponse(ctx, nil, keytrail.VerifyKeyJSONRequestBody{Key: *created.JSON201.Secret, Scopes: &scopes})
	if err != nil || verified.JSON200 == nil || !verified.JSON200.Valid {
		return fmt.Errorf("verify: %v %w", verified, err)
	}
	revoked, err := client.RevokeKeyWithResponse(ctx, created.JSON201.Key.ID, nil, keytrail.RevokeKeyJSONRequestBody{})
	if err != nil || revoked.JSON200 == nil {
		return fmt.Errorf("revoke: %v %w", revoked, err)
	}
	listed, err := client.ListKeysWithResponse(ctx, &keytrail.ListKeysParams{OrgID: &org.JSON201.ID})
	if err != nil || listed.JSON200 == nil || len(listed.JSON200.Items) != 1 {
		return fmt.Errorf("list: %v %w", listed, err)
	}
	refused, err := client.EnableKeyWithResponse(ctx, created.JSON201.Key.ID, nil, keytrail.EnableKeyJSONRequestBody{})
	if err != nil || refused.ApplicationProblemJSON409 == nil || refused.ApplicationProblemJSON409.Code != "key_revoked" {
		return fmt.Errorf("enable: %v %w", refused, err)
	}
	lines := strings.NewReader(`{"org_id":"` + org.JSON201.ID + `","name":"old","digest":"` + strings.Repeat("01", 32) + `"}`)
	imported, err := client.ImportKeysWithBodyWithResponse(ctx, "application/x-ndjson", lines)
	if err != nil || imported.JSON200 == nil || imported.JSON200.Imported != 1 {
		return fmt.Errorf("import: %v %w", imported, err)
	}
	return nil
}
