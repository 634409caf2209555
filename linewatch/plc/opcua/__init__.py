"""OPC UA: the station as a machine vision system (OPC 40100-1); the only importer of asyncua."""
