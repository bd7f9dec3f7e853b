package scim

// What a directory can ask about the service itself (RFC 7644, section 4).

// object is JSON that is written as it stands here.
type object map[string]any

// ServiceProviderConfig says which parts of SCIM there are.
func ServiceProviderConfig(base string, maxResults int) any {
	unsupported := object{"supported": false}
	return object{
		"schemas":        []string{configSchema},
		"patch":          object{"supported": true},
		"bulk":           object{"supported": false, "maxOperations": 0, "maxPayloadSize": 0},
		"filter":         object{"supported": true, "maxResults": maxResults},
		"changePassword": unsupported,
		"sort":           unsupported,
		"etag":           unsupported,
		"authenticationSchemes": []object{{"type": "oauthbearertoken", "name": "Management key", "primary": true,
			"description": "A management key of the organization with the scope scim:write, as Authorization: Bearer."}},
		"meta": object{"resourceType": "ServiceProviderConfig", "location": base + "/ServiceProviderConfig"},
	}
}

// ResourceTypes are those of users and groups, by name.
func ResourceTypes(base string) []any {
	one := func(name, endpoint, schema string) any {
		return object{"schemas": []string{typeSchema}, "id": name, "name": name, "endpoint": endpoint, "schema": schema, "schemaExtensions": []object{},
			"meta": object{"resourceType": "ResourceType", "location": base + "/ResourceTypes/" + name}}
	}
	return []any{one("User", "/Users", userSchema), one("Group", "/Groups", groupSchema)}
}

// Schemas are the attributes that are kept of users and groups.
func Schemas(base string) []any {
	one := func(id, name string, attributes ...object) any {
		return object{"schemas": []string{schemaSchema}, "id": id, "name": name, "attributes": attributes,
			"meta": object{"resourceType": "Schema", "location": base + "/Schemas/" + id}}
	}
	return []any{
		one(userSchema, "User",
			text("userName").with("required", true).with("uniqueness", "server"),
			text("displayName"),
			complexOf("name", text("formatted"), text("givenName"), text("familyName")),
			complexOf("emails", text("value"), text("type"), attribute("primary", "boolean")).with("multiValued", true),
			attribute("active", "boolean"),
			complexOf("groups", text("value"), text("display"), attribute("$ref", "reference")).with("multiValued", true).with("mutability", "readOnly")),
		one(groupSchema, "Group",
			text("displayName").with("required", true).with("uniqueness", "server"),
			complexOf("members", text("value").with("mutability", "immutable"), text("display").with("mutability", "readOnly"),
				attribute("$ref", "reference").with("mutability", "readOnly")).with("multiValued", true)),
	}
}

// IDOf is the id of a resource type or a schema.
func IDOf(v any) string { return v.(object)["id"].(string) }

func attribute(name, kind string) object {
	return object{"name": name, "type": kind, "multiValued": false, "required": false, "caseExact": false, "mutability": "readWrite", "returned": "default", "uniqueness": "none"}
}

func text(name string) object { return attribute(name, "string") }

func complexOf(name string, parts ...object) object {
	return attribute(name, "complex").with("subAttributes", parts)
}

func (o object) with(key string, value any) object { o[key] = value; return o }
